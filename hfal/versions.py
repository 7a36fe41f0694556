"""Of what versions numbers are."""

import platform
from functools import cache
from importlib import metadata

PACKAGES = ("hfal", "torch", "transformers", "datasets", "accelerate", "numpy", "scikit-learn")


@cache
def versions() -> dict[str, str]:
    """Python and the packages that decide numbers; read once, as every run of a benchmark asks."""
    return {name: _version(name) for name in PACKAGES} | {"python": platform.python_version()}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # as hfal run from its sources
        return "not installed"
