"""Measures of whole runs."""

from hfal.evaluation.curves import Curve, area_under_curve, labels_to_reach

__all__ = ["Curve", "area_under_curve", "labels_to_reach"]
