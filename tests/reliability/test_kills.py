"""A few of the kills of `python -m tests.reliability.kills`."""

import sys

import pytest

from tests.reliability.kills import with_hub


@pytest.mark.slow
def test_kills_at_random_moments_lose_nothing(capfd):
    code = with_hub([sys.executable, "-m", "tests.reliability.kills", "--kills", "15", "--seed", "1"])
    said = capfd.readouterr()
    assert code == 0, said.err[-3000:]
    assert "15 kills in the middle" in said.out and "0 labels lost, 0 doubled, the same picks" in said.out
