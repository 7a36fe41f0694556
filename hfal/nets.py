"""Small networks on embeddings, trained with Accelerate: the same weights on any number of processes.

Every process trains the same network on the same batches, drawn from one generator, so nothing needs to be averaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from hfal.compute import on_cpu, own_randomness

CRITIC_STEPS = 2
"""Steps of a critic for each of what it criticises."""


class Trained:
    """Modules of one method, each with an optimizer of its own.

    Args:
        learning_rate: of Adam, or one for each module.
        modules: by name; their weights are as they were made.
    """

    def __init__(self, learning_rate: float, **modules: nn.Module) -> None:
        AcceleratorState._reset_state()  # the precision of an earlier fit must not stick
        self.accelerator = Accelerator(cpu=on_cpu(), mixed_precision="no")
        self.device = self.accelerator.device
        self.modules: dict[str, nn.Module] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        for name, module in modules.items():
            self.modules[name] = self.accelerator.prepare_model(module, evaluation_mode=True)  # no averaging
            optimizer = torch.optim.Adam(self.modules[name].parameters(), lr=learning_rate)
            self.optimizers[name] = self.accelerator.prepare_optimizer(optimizer)

    def __getattr__(self, name: str) -> nn.Module:
        """A module by its name."""
        modules = self.__dict__.get("modules", {})
        if name not in modules:
            raise AttributeError(name)
        found: nn.Module = modules[name]
        return found

    def step(self, loss: Tensor, *names: str) -> None:
        """One step of these modules down a loss; the others stay as they are."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        self.accelerator.backward(loss)
        for name in names:
            self.optimizers[name].step()

    @torch.no_grad()
    def apply(self, name: str, *inputs: Tensor, together: int = 8192) -> Tensor:
        """A module's output for all rows, on the CPU."""
        module = self.modules[name].eval()
        parts = zip(*(torch.split(value, together) for value in inputs), strict=True)
        found = [module(*(part.float().to(self.device) for part in several)).cpu() for several in parts]
        module.train()
        return torch.cat(found)


@contextmanager
def seeded(generator: torch.Generator) -> Iterator[None]:
    """Torch's own randomness (weights of new layers, noise) drawn from a generator."""
    with own_randomness(int(torch.randint(2**62, (1,), generator=generator))):
        yield


def batches(rows: int, size: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """`steps` batches of row numbers; every row once before any comes again."""
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        while len(order) < min(size, rows):
            order = torch.cat((order, torch.randperm(rows, generator=generator)))
        yield order[:size]
        order = order[size:]


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def critic_loss(critic: nn.Module, known: Tensor, other: Tensor) -> Tensor:
    """What a critic learns from: its score is to be high for other rows and low for known ones, with a slope near 1
    between them (Wasserstein distance with gradient penalty; Gulrajani et al. 2017, eq. 3).

    Args:
        critic: [B, D] -> [B, 1].
        known: [B, D] labelled rows.
        other: [M, D] unlabelled rows.
    """
    pairs = min(len(known), len(other))
    share = torch.rand(pairs, 1, device=known.device)
    between = (share * known[:pairs] + (1 - share) * other[:pairs]).requires_grad_()
    slope = torch.autograd.grad(critic(between).sum(), between, create_graph=True)[0]
    steep: Tensor = torch.linalg.vector_norm(slope, dim=1)
    loss: Tensor = 10 * (steep - 1).square().mean() - critic(other).mean() + critic(known).mean()
    return loss
