"""A tenth of `python -m tests.reliability.malformed`."""

import pytest

from tests.reliability.malformed import run


@pytest.mark.slow
def test_malformed_rows_are_refused_and_named():
    assert " malformed rows refused by file, line, column and reason, none half-applied" in run(1000, seed=7)
