"""The shape of a strategy: what it needs of the pass, what it may see, what it returns; and the registry."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hfal.errors import HfalError, listing, nearest
from hfal.functional import top_k
from hfal.signals import Needs, Signals

Look: TypeAlias = "Callable[[Tensor, Needs], Context]"

if TYPE_CHECKING:
    from hfal.learners.base import Learner
    from hfal.neighbours import Neighbours


def _look_among(look: Look, among: Tensor) -> Look:
    """A closer look by places in a part of the pool."""
    return lambda indices, needs: look(among[indices], needs)


Compute: TypeAlias = Callable[[torch.Generator], Tensor]


def _at_once(_name: str, compute: Compute) -> Tensor:
    return compute(torch.Generator().manual_seed(0))


def _each_at_once(name: str, _rows: NDArray[np.int64], compute: Compute) -> Tensor:
    return _at_once(name, compute)


@dataclass(frozen=True)
class Context:
    """All that a strategy may see.

    Attributes:
        pool: signals of the unlabelled rows, in an order that does not depend on the data set's.
        labeled: signals of the labelled rows (what `Needs.labeled` asked for).
        labels: their labels in the same order.
        source: signals of another set's rows (what `Needs.source` asked for); None where there is none.
        aside: signals of the rows that were asked and got no label (what `Needs.aside` asked for).
        num_classes: C.
        costs: [N] what each unlabelled row costs in the unit of the batch, or None where each costs 1.
        weights: [N] how much a row's score counts, `1 / costs` where the best per cost are wanted; else None.
        round: the number of the round that is being chosen; 0 chooses the seed set.
        generator: the only source of chance.
        learner: for the few strategies that must train or differentiate.
        look: a closer look at some rows of the pool (indices into `pool`): the same context, with what is needed of
            them only. For what costs too much to be had of every row; see `Strategy` and `later`.
        once: name, how to compute it from a generator of its own -> a few numbers, computed in the first round that
            asks and the same in all others.
        each: name, rows (positions), how to compute it -> one number for each of these rows, kept like that; -1 for a
            row that was not there when it was computed.
        index: the nearest neighbours of rows, over the whole pool.
    """

    pool: Signals
    labeled: Signals
    labels: list[Any]
    num_classes: int
    round: int
    generator: torch.Generator
    source: Signals | None = None
    aside: Signals | None = None
    costs: Tensor | None = None
    weights: Tensor | None = None
    learner: Learner | None = None
    look: Look | None = None
    once: Callable[[str, Compute], Tensor] = _at_once
    each: Callable[[str, NDArray[np.int64], Compute], Tensor] = _each_at_once
    index: Callable[[], Neighbours] | None = None

    def closer(self, indices: Tensor, needs: Needs) -> Context:
        """These rows of the pool, with all that is needed of them: looked at now, or as they were given."""
        return self.restrict(indices) if self.look is None else self.look(indices, needs)

    @property
    def targets(self) -> Tensor:
        """The labels of the labelled rows: [L] int64 classes, or [L, C] of 0 and 1 where they are independent."""
        if not self.pool.multi_label:
            return torch.tensor(self.labels, dtype=torch.int64)
        yes = torch.zeros(len(self.labels), self.num_classes)
        for row, labels in enumerate(self.labels):
            yes[row, list(labels)] = 1
        return yes

    def restrict(self, indices: Tensor) -> Context:
        """The same, with only these rows of the pool (indices into `pool`) to choose from."""
        costs = None if self.costs is None else self.costs[indices]
        weights = None if self.weights is None else self.weights[indices]
        look = None if self.look is None else _look_among(self.look, indices)
        return replace(self, pool=self.pool.take(indices), costs=costs, weights=weights, look=look)


@dataclass(frozen=True)
class Selection:
    """What to label next.

    Attributes:
        rows: [k] positions in the pool, in order of choice.
        scores: [k] float32, larger = more wanted. For methods that choose a batch as a whole: k, k-1, … 1.
        details: columns of [k] values that are kept in the round.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    details: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)


@runtime_checkable
class Strategy(Protocol):
    """Chooses rows from what the pass yielded. See docs/strategies.md for one written in 20 lines.

    A strategy that takes a closer look at some rows (`context.closer`) says what it needs of them in a second
    attribute, `later: Needs`.
    """

    @property
    def needs(self) -> Needs:
        """What the pass must yield."""
        ...

    def select(self, context: Context, size: int) -> Selection:
        """Choose `size` rows of `context.pool`, or all where there are fewer."""
        ...


@runtime_checkable
class Scheduled(Protocol):
    """A strategy that is another one from round to round."""

    def at(self, round: int) -> Strategy:
        """The strategy of this round."""
        ...


def later(strategy: Strategy) -> Needs:
    """What a strategy reads in a closer look; nothing, for most."""
    needs: Needs = getattr(strategy, "later", Needs())
    return needs


def all_needs(strategy: Strategy) -> Needs:
    """What a strategy reads of all rows, or in a closer look."""
    return strategy.needs | later(strategy)


def resolve(strategy: Strategy, round: int) -> Strategy:
    """The strategy that chooses in this round."""
    while isinstance(strategy, Scheduled):
        strategy = strategy.at(round)
    return strategy


def by_score(context: Context, scores: Tensor, size: int, **details: Tensor) -> Selection:
    """The best `size` rows by score (by score per cost, where that is wanted); the generator breaks ties."""
    if context.weights is not None:
        if bool((scores < 0).any()):
            raise HfalError("per_cost divides scores by costs, which needs scores of 0 or more")
        scores = scores * context.weights
    indices = top_k(scores, size, context.generator)
    return picked(context, indices, scores[indices], **{k: v[indices] for k, v in details.items()})


def picked(context: Context, indices: Tensor, scores: Tensor | None = None, **details: Tensor) -> Selection:
    """A selection from indices into `context.pool`; without scores, the order of choice is the score."""
    if scores is None:
        scores = torch.arange(len(indices), 0, -1)
    return Selection(
        rows=context.pool.rows[indices.numpy()],
        scores=scores.numpy().astype(np.float32),
        details={name: values.numpy() for name, values in details.items()},
    )


def drawn(context: Context, size: int) -> Selection:
    """`size` rows without replacement: by chance, or for want of a label to go by."""
    return picked(context, torch.randperm(len(context.pool), generator=context.generator)[:size])


def check_whole(name: str, value: object, least: int = 1) -> None:
    """An argument that counts something."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise HfalError(f"{name} must be a whole number of at least {least}, got {value!r}")


def check_then(then: object) -> None:
    """Refuse to wrap what is no strategy."""
    if not isinstance(then, Strategy):
        raise HfalError(f"then must be a strategy, got {then!r}")


class Scored:
    """Base of strategies that give each row a score: the score is computed inside the pass.

    A subclass names the fields it reads and defines `score`: the `Signals` of a batch -> [B].
    """

    reads: ClassVar[frozenset[str]] = frozenset({"logits"})
    mc_samples: int = 0
    mc_layers: str = "head"

    def score(self, batch: Signals) -> Tensor:
        """[B] scores, larger = more wanted."""
        raise TypeError(f"{type(self).__name__} must define score(batch)")

    @property
    def needs(self) -> Needs:
        """One number a row."""
        return Needs(
            batch=self.reads,
            reduce={repr(self): self.score},
            mc_samples=self.mc_samples,
            mc_layers=self.mc_layers,
        )

    def select(self, context: Context, size: int) -> Selection:
        """The rows with the highest scores."""
        return by_score(context, context.pool.reduced[repr(self)], size)


class ByScore:
    """Base of strategies that weigh, filter or group rows by the score of another strategy, `by`."""

    by: Strategy

    def __post_init__(self) -> None:
        if not isinstance(self.by, Scored):
            raise HfalError(
                f"by must be a strategy that gives each row a score (as margin, bald or mnlp); got {self.by!r}"
            )

    def scores(self, context: Context) -> Tensor:
        """[N] scores of the pool's rows by `by`."""
        return context.pool.reduced[repr(self.by)]

    def wanted(self, context: Context) -> Tensor:
        """[N] the same, per cost where that is asked for."""
        scores = self.scores(context)
        return scores if context.weights is None else scores * context.weights


def no_costs(context: Context, name: str) -> None:
    """Refuse to choose per cost where there is nothing to divide by it."""
    if context.weights is not None:
        raise HfalError(f"per_cost does not go with {name}: it has no score to divide by a cost")


@dataclass(frozen=True)
class Entry:
    """A registered strategy: its class and what `hfal strategies` tells of it."""

    name: str
    cls: type
    summary: str
    paper: str

    def make(self, **arguments: Any) -> Strategy:
        """An instance; an argument it does not take is an error that names those it takes."""
        known = list(inspect.signature(self.cls).parameters)
        for argument in arguments:
            if argument not in known:
                takes = listing(known) if known else "none"
                hint = nearest(argument, known)
                raise HfalError(f"{self.name}: unknown argument {argument!r}{hint}; it takes: {takes}")
        needed = [p.name for p in inspect.signature(self.cls).parameters.values() if p.default is p.empty]
        missing = [name for name in needed if name not in arguments]
        if missing:
            raise HfalError(f"{self.name}: needs {listing(missing)}")
        strategy: Strategy = self.cls(**arguments)
        return strategy


READS = {
    "row": "each row's own prediction",
    "word": "a tag for each word",
    "pair": "the two texts of a pair",
    "latent": "samples in a hidden space",
    "text": "texts that are written",
}
"""What a strategy reads of the model, in words."""

_REGISTRY: dict[str, Entry] = {}
_Class = TypeVar("_Class", bound=type)


def register(name: str, *, paper: str = "") -> Callable[[_Class], _Class]:
    """Class decorator: make a strategy known under a name, for spec strings and `hfal strategies`.

    Args:
        name: lower-case letters, digits and underscores; a name that is taken by another class is refused.
        paper: author and year, as shown by `hfal strategies`.
    """
    if not name.isidentifier() or name != name.lower():
        raise ValueError(f"a strategy's name is lower-case letters, digits and _; got {name!r}")

    def decorate(cls: _Class) -> _Class:
        taken = _REGISTRY.get(name)
        if taken and (taken.cls.__module__, taken.cls.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"strategy {name!r} is registered already, by {taken.cls.__qualname__}")
        summary = (inspect.getdoc(cls) or "").split("\n")[0]
        _REGISTRY[name] = Entry(name, cls, summary, paper)
        return cls

    return decorate


def entries() -> list[Entry]:
    """All registered strategies by name, the baseline first."""
    return sorted(_REGISTRY.values(), key=lambda entry: (entry.name != "random", entry.name))


def is_registered(name: str) -> bool:
    """Whether there is a strategy of this name."""
    return name in _REGISTRY


def entry(name: str) -> Entry:
    """The registered strategy of this name; an unknown name is an error with the nearest one."""
    if name not in _REGISTRY:
        raise HfalError(f"unknown strategy {name!r}{nearest(name, _REGISTRY)}; known: {listing(_REGISTRY, 40)}")
    return _REGISTRY[name]


def check_units(strategy: Strategy, yields: frozenset[str], task: str, name: str) -> None:
    """What a strategy reads of the model is what the model of a task gives.

    Args:
        strategy: the strategy.
        yields: what can be read of the model: "row", "word", …
        task: its name.
        name: of the strategy.

    Raises:
        HfalError: it scores words where rows have one label, or the other way round; those that fit are named.
    """
    lacking = sorted(all_needs(strategy).units - yields)
    if not lacking:
        return
    reads = READS[lacking[0]]
    fit = [entry.name for entry in entries() if _reads_only(entry, yields)]
    raise HfalError(f"strategy {name} reads {reads}, which {task} does not have; those that fit: {listing(fit, 40)}")


def _reads_only(entry: Entry, yields: frozenset[str]) -> bool:
    try:
        return all_needs(entry.make()).units <= yields
    except HfalError:  # one that is made of others
        return True
