"""Strategies that train a small network to tell labelled rows from unlabelled ones, on their embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as logistic
from torch.nn.functional import cross_entropy, mse_loss

from hfal import functional as F
from hfal.compute import progress
from hfal.nets import CRITIC_STEPS, Trained, batches, critic_loss, mlp, seeded
from hfal.signals import Needs, as_decisions
from hfal.strategies.base import Context, Selection, by_score, check_whole, drawn, no_costs, picked, register
from hfal.strategies.heads import cross_fitted, losses_of
from hfal.strategies.uncertainty import over_labels

BATCH = 128
LATENT = 32


def scaled(pool: Tensor, labeled: Tensor) -> tuple[Tensor, Tensor]:
    """Both with mean 0 and mean squared length D over all rows."""
    everything = torch.cat((pool, labeled)).float()
    mean = everything.mean(0)
    scale = (everything - mean).square().mean().sqrt().clamp_min(1e-12)
    return (pool.float() - mean) / scale, (labeled.float() - mean) / scale


@dataclass(frozen=True)
class _Told:
    """Embeddings of both sides."""

    steps: int = 500
    needs: ClassVar[Needs] = Needs(pool=frozenset({"embeddings"}), labeled=frozenset({"embeddings"}))

    def __post_init__(self) -> None:
        check_whole("steps", self.steps)


@register("discriminative", paper="Gissin and Shalev-Shwartz 2019; Du et al. 2019")
@dataclass(frozen=True)
class Discriminative(_Told):
    """Rows that a classifier is surest are not labelled, some at a time: after each part it learns again."""

    steps: int = 200
    sub_batches: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("sub_batches", self.sub_batches)

    def select(self, context: Context, size: int) -> Selection:
        """The picks of a part count as labelled for the next; without labels, the first part is drawn."""
        no_costs(context, "discriminative")
        size = min(size, len(context.pool))
        pool, labeled = scaled(*_both(context))
        picks = torch.empty(0, dtype=torch.int64)
        with progress(self.sub_batches * self.steps, "telling labelled from unlabelled") as bar:
            for part in range(self.sub_batches):
                rest = F.all_but(len(pool), picks)
                count = size * (part + 1) // self.sub_batches - len(picks)
                known = torch.cat((labeled, pool[picks]))
                if count and len(known):
                    scores = self._unlabelled(pool[rest], known, context.generator, bar)
                    new = F.top_k(scores, count, context.generator)
                else:
                    new = torch.randperm(len(rest), generator=context.generator)[:count]
                picks = torch.cat((picks, rest[new]))
        return picked(context, picks)

    def _unlabelled(self, pool: Tensor, known: Tensor, generator: torch.Generator, bar: object) -> Tensor:
        """[N] how sure it is that a row is not labelled (a logit)."""
        with seeded(generator):
            net = Trained(1e-3, told=mlp(pool.shape[1], 128, 64, 1))
        half = BATCH // 2
        ours = batches(len(known), half, self.steps, generator)
        theirs = batches(len(pool), half, self.steps, generator)
        for a, b in zip(ours, theirs, strict=True):
            rows = torch.cat((known[a], pool[b])).to(net.device)
            side = torch.cat((torch.zeros(len(a)), torch.ones(len(b)))).to(net.device)
            weight = torch.cat((torch.full((len(a),), 1 / len(a)), torch.full((len(b),), 1 / len(b)))).to(net.device)
            net.step(logistic(net.told(rows)[:, 0], side, weight, reduction="sum"), "told")
            bar.update()  # type: ignore[attr-defined]
        return net.apply("told", pool)[:, 0]


def _both(context: Context) -> tuple[Tensor, Tensor]:
    pool = context.pool.get("embeddings")
    return pool, context.labeled.get("embeddings") if len(context.labeled) else pool[:0]


class _VAE(nn.Module):
    """A variational autoencoder; with a condition, the decoder sees it too."""

    def __init__(self, dims: int, condition: int) -> None:
        super().__init__()
        self.encoder = mlp(dims, 128, 2 * LATENT)
        self.decoder = mlp(LATENT + condition, 128, dims)

    def forward(self, rows: Tensor, condition: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The mean and log-variance of the code, and the row again."""
        mean, log_var = self.encoder(rows).chunk(2, 1)
        code = mean if noise is None else mean + (log_var / 2).exp() * noise
        return mean, log_var, self.decoder(torch.cat((code, condition), 1))


class _Code(nn.Module):
    """The mean of the code, for scoring."""

    def __init__(self, vae: nn.Module) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, rows: Tensor, condition: Tensor) -> Tensor:
        """[B, LATENT + condition]."""
        return torch.cat((self.vae(rows, condition)[0], condition), 1)


@register("vaal", paper="Sinha et al. 2019")
@dataclass(frozen=True)
class VAAL(_Told):
    """Rows whose code in a variational autoencoder a discriminator is surest is not that of a labelled row.

    The autoencoder learns to code rows, and to make the discriminator take every row for a labelled one.
    """

    steps: int = 800
    adversary: float = 1.0

    def select(self, context: Context, size: int) -> Selection:
        """Without labels there is nothing to tell apart: rows are drawn."""
        if not len(context.labeled):
            return drawn(context, size)
        return by_score(context, self.scores(context), size)

    def conditions(self, context: Context) -> tuple[Tensor, Tensor]:
        """What else the discriminator and the decoder see of the pool's rows and of the labelled ones."""
        return torch.zeros(len(context.pool), 0), torch.zeros(len(context.labeled), 0)

    def scores(self, context: Context) -> Tensor:
        """[N] the probability that a row is not labelled."""
        (pool, labeled), (of_pool, of_labeled) = scaled(*_both(context)), self.conditions(context)
        generator, condition = context.generator, of_pool.shape[1]
        with seeded(generator), progress(self.steps, "learning codes") as bar:
            net = Trained(1e-3, vae=_VAE(pool.shape[1], condition), told=mlp(LATENT + condition, 64, 64, 1))
            ours = batches(len(labeled), BATCH, self.steps, generator)
            theirs = batches(len(pool), BATCH, self.steps, generator)
            for a, b in zip(ours, theirs, strict=True):
                rows = torch.cat((labeled[a], pool[b])).to(net.device)
                extra = torch.cat((of_labeled[a], of_pool[b])).to(net.device)
                weight = torch.cat((torch.full((len(a),), 0.5 / len(a)), torch.full((len(b),), 0.5 / len(b))))
                weight = weight.to(net.device)
                is_pool = torch.cat((torch.zeros(len(a)), torch.ones(len(b)))).to(net.device)
                noise = torch.randn(len(rows), LATENT, device=net.device)
                mean, log_var, again = net.vae(rows, extra, noise)
                fooled = logistic(
                    net.told(torch.cat((mean, extra), 1))[:, 0], torch.zeros_like(is_pool), weight, reduction="sum"
                )
                code = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).mean()
                net.step(mse_loss(again, rows) + 0.1 * code + self.adversary * fooled, "vae")
                told = net.told(torch.cat((mean.detach(), extra), 1))[:, 0]
                net.step(logistic(told, is_pool, weight, reduction="sum"), "told")
                bar.update()
        net.modules["code"] = _Code(net.vae)
        return torch.sigmoid(net.apply("told", net.apply("code", pool, of_pool))[:, 0])


@register("tavaal", paper="Kim et al. 2021")
@dataclass(frozen=True)
class TAVAAL(VAAL):
    """`vaal` that knows the task: decoder and discriminator see how large a loss is expected of each row.

    The losses of labelled rows are those of a head that has not seen them; the pool's are predicted by a network that
    learned to rank them, as in `learning_loss`. Both are given as ranks from 0 to 1.
    """

    needs: ClassVar[Needs] = Needs(
        pool=frozenset({"embeddings", "features"}), labeled=frozenset({"embeddings", "features"})
    )

    def conditions(self, context: Context) -> tuple[Tensor, Tensor]:
        """Ranks of the losses."""
        known, pool = context.labeled.get("features").float(), context.pool.get("features").float()
        targets = context.targets
        losses = losses_of(cross_fitted(known, targets, context.num_classes, context.generator), targets)
        ranker = fit_ranker(known[:, None], losses, context.generator, min(300, self.steps))
        return _ranks(ranker.apply("loss", pool[:, None]))[:, None], _ranks(losses)[:, None]


def _ranks(values: Tensor) -> Tensor:
    """Places from 0 to 1, lowest first."""
    return values.argsort(stable=True).argsort().float() / max(1, len(values) - 1)


class _LossNet(nn.Module):
    """Predicts how large a row's loss is from its states in each layer (Yoo and Kweon 2019, section 3.2)."""

    def __init__(self, layers: int, dims: int, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.ModuleList(mlp(dims, width) for _ in range(layers))
        self.last = nn.Linear(layers * width, 1)

    def forward(self, states: Tensor) -> Tensor:
        """[B, L, D] -> [B]."""
        seen = [torch.relu(layer(states[:, place])) for place, layer in enumerate(self.layers)]
        predicted: Tensor = self.last(torch.cat(seen, 1))[:, 0]
        return predicted


def fit_ranker(states: Tensor, losses: Tensor, generator: torch.Generator, steps: int = 300) -> Trained:
    """A network that ranks rows by their loss: of each pair, the larger must be predicted larger by 1 (eq. 2).

    Args:
        states: [L, layers, D].
        losses: [L].
        generator: draws pairs and the network's start.
        steps: of training.
    """
    with seeded(generator):
        net = Trained(1e-3, loss=_LossNet(states.shape[1], states.shape[2]))
    turns = batches(len(states), BATCH, steps, generator)
    for rows in turns:
        half = len(rows) // 2
        if not half:
            break
        a, b = rows[:half], rows[half : 2 * half]
        sign = torch.sign(losses[a] - losses[b]).to(net.device)
        gap = net.loss(states[a].to(net.device)) - net.loss(states[b].to(net.device))
        net.step(torch.relu(1 - sign * gap).mul(sign.abs()).mean(), "loss")
    return net


@register("waal", paper="Shui et al. 2020")
@dataclass(frozen=True)
class WAAL(_Told):
    """Unsure rows far from the labelled ones: a classifier whose features lie alike for both, and a critic of it.

    Features, classifier and critic are trained here, on embeddings: cross entropy, and the Wasserstein distance between
    labelled and unlabelled features, which the critic measures (with a gradient penalty) and the features lessen.
    `balance` weighs the critic's word against uncertainty.
    """

    steps: int = 400
    adversary: float = 0.01
    balance: float = 1.0
    needs: ClassVar[Needs] = Needs(
        pool=frozenset({"embeddings"}), labeled=frozenset({"embeddings"}), units=frozenset({"row"})
    )

    def select(self, context: Context, size: int) -> Selection:
        """Without labels rows are drawn."""
        if not len(context.labeled):
            return drawn(context, size)
        return by_score(context, self.scores(context), size)

    def scores(self, context: Context) -> Tensor:
        """[N] uncertainty in [0, 1] plus `balance` times the critic's rank in [0, 1]."""
        pool, labeled = scaled(*_both(context))
        targets, classes, generator = context.targets, context.num_classes, context.generator
        several = targets.ndim == 2
        with seeded(generator), progress(self.steps, "learning features") as bar:
            net = Trained(
                1e-3, features=mlp(pool.shape[1], 128, 64), head=nn.Linear(64, classes), critic=mlp(64, 64, 1)
            )
            ours = batches(len(labeled), BATCH // 2, self.steps, generator)
            theirs = batches(len(pool), BATCH // 2, self.steps, generator)
            for step, (a, b) in enumerate(zip(ours, theirs, strict=True)):
                known, other = net.features(labeled[a].to(net.device)), net.features(pool[b].to(net.device))
                if step < 0.75 * self.steps:  # the critic has the last word on what the features have become
                    wanted, logits = targets[a].to(net.device), net.head(torch.relu(known))
                    right = logistic(logits, wanted) if several else cross_entropy(logits, wanted)
                    apart = net.critic(other).mean() - net.critic(known).mean()
                    net.step(right + self.adversary * apart, "features", "head")
                known, other = known.detach(), other.detach()
                for _ in range(CRITIC_STEPS):
                    net.step(critic_loss(net.critic, known, other), "critic")
                bar.update()
        features = net.apply("features", pool)
        logits = net.apply("head", torch.relu(features))
        unsure = over_labels(F.margin(as_decisions(logits, several)))
        return unsure + self.balance * _ranks(net.apply("critic", features)[:, 0])
