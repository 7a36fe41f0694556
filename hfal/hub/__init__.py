"""Rounds as a data set on the Hub: push, pull, clone."""

from hfal.hub.sharing import clone, pull, push

__all__ = ["clone", "pull", "push"]
