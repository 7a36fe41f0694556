"""Tasks: what a row, a label, a prediction and a score of quality mean."""

from hfal.tasks.base import Task
from hfal.tasks.generation import Generation
from hfal.tasks.pairs import Pairs
from hfal.tasks.question_answering import QuestionAnswering
from hfal.tasks.relations import Relations
from hfal.tasks.text import TextClassification
from hfal.tasks.tokens import TokenClassification
from hfal.tasks.vqa import VisualQuestionAnswering

__all__ = [
    "Generation",
    "Pairs",
    "QuestionAnswering",
    "Relations",
    "Task",
    "TextClassification",
    "TokenClassification",
    "VisualQuestionAnswering",
]
