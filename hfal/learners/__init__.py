"""Learners: what is trained on the labels, and passes over the pool."""

from hfal.learners.base import Learner
from hfal.learners.contrastive import Contrastive
from hfal.learners.ensemble import Ensemble
from hfal.learners.extract import Extract
from hfal.learners.fine_tune import FineTune
from hfal.learners.frozen_head import FrozenHead
from hfal.learners.fusion import Fusion
from hfal.learners.generate import Generate
from hfal.training_config import FitReport

__all__ = ["Contrastive", "Ensemble", "Extract", "FineTune", "FitReport", "FrozenHead", "Fusion", "Generate", "Learner"]
