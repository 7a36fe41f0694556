"""Active learning for Hugging Face: spend a label budget where it teaches the model most."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hfal.budget import Budget, Cost
    from hfal.errors import HfalError
    from hfal.few import FewLabels
    from hfal.joint import Joint
    from hfal.learners import Contrastive, Ensemble, Extract, FineTune, FrozenHead, Fusion, Generate
    from hfal.loop import ActiveLearner
    from hfal.oracles import Simulated
    from hfal.pool import Pool
    from hfal.rounds import Round
    from hfal.tasks import (
        Generation,
        Pairs,
        Relations,
        TextClassification,
        TokenClassification,
        VisualQuestionAnswering,
    )
    from hfal.training_config import TrainingConfig

__version__ = "0.1.0"

__all__ = [
    "ActiveLearner",
    "Budget",
    "Contrastive",
    "Cost",
    "Ensemble",
    "Extract",
    "FewLabels",
    "FineTune",
    "FrozenHead",
    "Fusion",
    "Generate",
    "Generation",
    "HfalError",
    "Joint",
    "Pairs",
    "Pool",
    "QuestionAnswering",
    "Relations",
    "Round",
    "Simulated",
    "TextClassification",
    "TokenClassification",
    "TrainingConfig",
    "VisualQuestionAnswering",
]

_HOME = {
    "ActiveLearner": "loop",
    "Budget": "budget",
    "Cost": "budget",
    "FineTune": "learners",
    "FrozenHead": "learners",
    "Contrastive": "learners",
    "Ensemble": "learners",
    "Extract": "learners",
    "Fusion": "learners",
    "Generate": "learners",
    "HfalError": "errors",
    "Joint": "joint",
    "Pairs": "tasks",
    "Generation": "tasks",
    "Pool": "pool",
    "QuestionAnswering": "tasks",
    "Relations": "tasks",
    "Round": "rounds",
    "Simulated": "oracles",
    "TextClassification": "tasks",
    "TokenClassification": "tasks",
    "VisualQuestionAnswering": "tasks",
    "TrainingConfig": "training_config",
    "FewLabels": "few",
}


def __getattr__(name: str) -> Any:
    """Public names are loaded when they are first used: `hfal --help` need not wait for torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'hfal' has no attribute {name!r}")
    return getattr(import_module(f"hfal.{_HOME[name]}"), name)
