"""People's side of a round: what waits, the label page, and files to and from other tools."""

from hfal.labeling.work import Work, open_work

__all__ = ["Work", "open_work"]
