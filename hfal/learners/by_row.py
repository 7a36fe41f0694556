"""What a pass finds batch by batch, by row, where it is more than tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hfal.compute import gathered
from hfal.functional import Ragged
from hfal.signals import SAMPLED, Needs, Signals


class ByRow:
    """Keeps what is asked for of each batch, and one number a row for each reduction.

    Args:
        needs: what is asked for.
    """

    def __init__(self, needs: Needs) -> None:
        self.needs = needs
        self._found: dict[str, dict[int, Any]] = {}

    def put(self, batch: NDArray[np.int64], seen: Signals) -> None:
        """The fields of some rows, whose numbers are `batch`."""
        for name in self.needs.pool:
            value = getattr(seen, name)
            if value is not None:
                parts = value.transpose(0, 1) if name in SAMPLED else value
                self._found.setdefault(name, {}).update({int(row): parts[at] for at, row in enumerate(batch)})
        for name, reduce in self.needs.reduce.items():
            scores = reduce(seen).tolist()
            self._found.setdefault(f"reduce:{name}", {}).update(dict(zip(batch.tolist(), scores, strict=True)))

    def signals(self, size: int) -> Signals:
        """All rows in their order, on every process."""
        fields: dict[str, Any] = {}
        reduced: dict[str, Tensor] = {}
        for name, by_row in gathered(self._found).items():
            values = [by_row[row] for row in range(size)]
            if name.startswith("reduce:"):
                reduced[name[7:]] = torch.tensor(values)
            elif name in SAMPLED:
                fields[name] = torch.stack(values, 1)
            elif name.startswith("token_"):
                fields[name] = Ragged.of(values)
            else:
                fields[name] = torch.stack(values) if isinstance(values[0], Tensor) else values
        return Signals(rows=np.arange(size), reduced=reduced, **fields)
