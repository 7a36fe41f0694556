"""Learners that can let their encoder read the pool first."""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from pathlib import Path
from typing import Any

from datasets import Dataset

from hfal.adapting import adapted
from hfal.few import FewLabels
from hfal.sides import SIDE
from hfal.tasks.base import Task
from hfal.tokens import TokenCache


class PoolReader:
    """Base: where the encoder's weights are, and how they come to be those of one that has read the pool."""

    name: str
    few: FewLabels
    task: Task
    cache: Path | None
    trust_remote_code: bool
    weights_at: str
    """The model that is loaded: the one named, or the one that has read the pool."""
    _temporary: tempfile.TemporaryDirectory[str] | None = None

    @abstractmethod
    def _texts(self) -> TokenCache:
        """What tokenizes the texts that are read."""

    @abstractmethod
    def _reload(self) -> None:
        """Take up the weights at `weights_at`."""

    def read_pool(self, rows: Dataset) -> dict[str, Any]:
        """Adapt the encoder to all rows of the pool, where that is asked for, and say what it took.

        The adapted model is kept in the cache; without one it is in memory only, and made again the next time.
        """
        if self.few.adapt is None:
            return {}
        texts = self._texts()
        if texts.task is SIDE:
            sides = sorted({text for name in self.task.inputs for text in rows[name]})
            rows = Dataset.from_dict({SIDE.text: sides})
        if self.cache is None and self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="hfal-adapted-")
        folder = Path(self._temporary.name) if self.cache is None and self._temporary else self.cache
        assert folder is not None
        place, found = adapted(
            self.name, self.task, texts, rows, self.few.adapt, folder, trust_remote_code=self.trust_remote_code
        )
        if place != self.weights_at:
            self.weights_at = place
            self._reload()
        return {"adapted": found}

    def read_as(self, other: PoolReader) -> None:
        """Take up what another learner of the same kind has read."""
        self._temporary, self.weights_at = other._temporary, other.weights_at
        self._reload()
