"""Measures of whole runs."""

from hfal.evaluation.curves import Curve, area_under_curve, cost_of, cost_to_reach, mean_curve

__all__ = ["Curve", "area_under_curve", "cost_of", "cost_to_reach", "mean_curve"]
