"""Libraries that keep still, where only we talk; and we, where it is of no use."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


def silence_libraries() -> None:
    """Progress bars and log lines of libraries would only stand between ours."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    datasets.utils.logging.set_verbosity(logging.CRITICAL)  # what its readers meet is told by us, once
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


@contextmanager
def hushed() -> Iterator[None]:
    """Without the warnings of runs that are only played through."""
    logger = logging.getLogger("hfal")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
