"""Of what versions numbers are."""

import platform
from importlib import metadata

PACKAGES = ("hfal", "torch", "transformers", "datasets", "accelerate", "numpy", "scikit-learn")


def versions() -> dict[str, str]:
    """Python and the packages that decide numbers."""
    return {name: metadata.version(name) for name in PACKAGES} | {"python": platform.python_version()}
