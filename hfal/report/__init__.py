"""Reports: one HTML file that needs no network, and the pictures and numbers beside it."""

from hfal.report.page import write_report
from hfal.report.view import RunView, open_run

__all__ = ["RunView", "open_run", "write_report"]
