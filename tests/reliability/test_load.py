"""A part of `python -m tests.reliability.load`."""

import pytest

from tests.reliability.load import report as check
from tests.reliability.load import work


@pytest.mark.slow
def test_ten_people_at_once_lose_nothing(tmp_path, capsys):
    folder, people, took = work(tmp_path, 10, 150)
    check(folder, people, took, 150)
    assert " 0 lost, 0 asked twice" in capsys.readouterr().out
