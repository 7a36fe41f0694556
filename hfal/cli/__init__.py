"""The command line."""

from hfal.cli import analyze, bench, hub, pairs, people, quality, runs  # noqa: F401 - they put their commands into the app
from hfal.cli.app import app, main

__all__ = ["app", "main"]
