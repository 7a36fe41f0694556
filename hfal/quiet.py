"""Libraries that keep still, where only we talk."""

from __future__ import annotations

import logging


def silence_libraries() -> None:
    """Progress bars and log lines of libraries would only stand between ours."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    datasets.utils.logging.set_verbosity(logging.CRITICAL)  # what its readers meet is told by us, once
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
