"""Active learning for Hugging Face: spend a label budget where it teaches the model most."""

from hfal.budget import Budget
from hfal.errors import HfalError
from hfal.learners import FineTune, FrozenHead
from hfal.loop import ActiveLearner
from hfal.oracles import Simulated
from hfal.pool import Pool
from hfal.rounds import Round
from hfal.tasks import TextClassification
from hfal.training import TrainingConfig

__version__ = "0.1.0"

__all__ = [
    "ActiveLearner",
    "Budget",
    "FineTune",
    "FrozenHead",
    "HfalError",
    "Pool",
    "Round",
    "Simulated",
    "TextClassification",
    "TrainingConfig",
]
