"""Are labels worth choosing here? What a data set says before, and where it has labels after, any are bought."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from hfal.asking import facts_of
from hfal.compute import derive_seed, generator_for
from hfal.errors import HfalError
from hfal.evaluation import Curve, area_under_curve
from hfal.evaluation.comparing import Comparison, compare
from hfal.learners import FrozenHead
from hfal.learners.base import outputs_of, unit_of
from hfal.loop import ActiveLearner
from hfal.models import unit_length
from hfal.pool import Pool, check_labels, labelled
from hfal.quiet import hushed
from hfal.signals import Needs
from hfal.strategies import Adaptive, make
from hfal.tasks.base import Task

ALIKE = 0.95
"""Cosine from which on two texts are taken for near-duplicates."""
MOST_COMPARED = 20_000
"""Rows that are compared with each other; more are drawn from."""
MOST_TEST = 2_000
LEAST = 40
"""Rows, or labels, below which nothing is said."""
SIZES = (50, 100, 200, 500, 1000, 2000, 5000)
DRAWS = 5
SHARES = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
NEAR = 0.01
"""A score that is lower by at most so much is taken for as good."""
STRATEGY = "auto"


@dataclass(frozen=True)
class Analysis:
    """What was found.

    Attributes:
        rows: in the data.
        distinct: of them, by their texts.
        alike: share of the distinct rows that have a near-duplicate among them.
        spread: how many directions the embeddings fill: the exponential of the entropy of their spectrum.
        classes: rows of each class; empty without labels.
        metric: the score below.
        chance: mean score, and its standard deviation over draws, of so many labels drawn by chance.
        whole: score of all labels; None without labels.
        kept: score of the share of the rows with the largest gradients (Vodrahalli et al. 2018).
        drawn: mean score of as large a share, drawn by chance.
        chosen: the area under the learning curve of `auto`, compared with that of random.
        strategy: what to begin with, and then.
        reason: why.
        verdict: one sentence.
    """

    rows: int
    distinct: int
    alike: float
    spread: float
    strategy: str
    reason: str
    verdict: str
    classes: dict[str, int] = field(default_factory=dict)
    metric: str = ""
    chance: dict[int, tuple[float, float]] = field(default_factory=dict)
    whole: float | None = None
    kept: dict[float, float] = field(default_factory=dict)
    drawn: dict[float, float] = field(default_factory=dict)
    chosen: Comparison | None = None

    @property
    def free(self) -> float | None:
        """Share of the rows that can go without a loss of more than `NEAR`, if the right ones are kept."""
        enough = [share for share, score in self.kept.items() if self.whole is not None and score >= self.whole - NEAR]
        return 1 - min(enough) if enough else 0.0 if self.kept else None

    def record(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"free": self.free}


def analyse(rows: Dataset, task: Task, learner: FrozenHead, *, has_labels: bool, seed: int = 0) -> Analysis:
    """Look at a data set.

    Args:
        rows: all of it.
        task: of texts, pairs or words, resolved.
        learner: what is trained on the labels.
        has_labels: whether there is a column of labels; rows where it is empty are looked at, not learned.
        seed: of all that is drawn.

    Raises:
        HfalError: another task, or too few rows to say anything.
    """
    if task.embedded not in ("text", "pair", "words"):
        raise HfalError(f"analyze looks at texts, pairs and words with labels: not at {task.name}")
    pool = Pool.from_dataset(rows, task)
    if has_labels:
        check_labels(rows, task, "the data")
    order = pool.canonical(pool.unlabeled)
    order = order[torch.randperm(len(order), generator=generator_for("analyze", seed)).numpy()]
    if len(order) < LEAST:
        raise HfalError(f"{len(order)} distinct rows are too few to say anything: {LEAST} at least")
    learner.bind(task, seed)
    needs = Needs(pool=frozenset({"embeddings"}), units=unit_of(task))
    embeddings = learner.signals(pool.inputs(order[:MOST_COMPARED]), needs).get("embeddings")
    found: dict[str, Any] = {
        "rows": len(rows),
        "distinct": len(order),
        "alike": share_alike(embeddings),
        "spread": spread_of(embeddings),
    }
    known = order[said(rows, task)[order]] if has_labels else order[:0]
    if len(known) < LEAST:
        strategy, reason = advised(pool)
        return Analysis(**found, strategy=strategy, reason=reason, verdict=_before_labels(found))
    size = min(MOST_TEST, len(known) // 4)
    test, train = (labelled(rows.select(part), task, "the data") for part in (known[:size], known[size:]))
    rest = Pool.from_dataset(rows.select(known[size:]), task)
    strategy, reason = advised(rest)
    found |= {"classes": _counts(train, test, task), "metric": task.main_metric}
    with tqdm(total=_turns(len(train)), desc="analysing", unit="fit", leave=False, disable=None, delay=1) as bar:
        found |= _learned(learner, train, test, seed, bar.update)
        found["chosen"] = _chosen(rest, learner, test, seed, bar.update)
    analysis = Analysis(**found, strategy=strategy, reason=reason, verdict="")
    return replace(analysis, verdict=_after_labels(analysis))


def said(rows: Dataset, task: Task) -> NDArray[np.bool_]:
    """[N] whether each row has a label."""
    return np.array([label is not None for label in rows[task.label]], dtype=bool)


def share_alike(embeddings: Tensor, together: int = 1024) -> float:
    """Share of rows [N, D] that have another whose cosine is at least `ALIKE`."""
    unit = unit_length(embeddings)
    count = 0
    for start in range(0, len(unit), together):
        cosine = unit[start : start + together] @ unit.T
        cosine[torch.arange(len(cosine)), start + torch.arange(len(cosine))] = -1
        count += int((cosine.max(1).values >= ALIKE).sum())
    return count / max(1, len(unit))


def spread_of(embeddings: Tensor) -> float:
    """How many directions rows [N, D] fill: exp of the entropy of the covariance's spectrum (Roy and Vetterli 2007)."""
    centred = embeddings.double() - embeddings.double().mean(0)
    values = torch.linalg.eigvalsh(centred.T @ centred).clamp_min(0)
    share = values / values.sum().clamp_min(1e-12)
    return float(torch.exp(torch.special.entr(share).sum()))


def advised(pool: Pool) -> tuple[str, str]:
    """The strategies that `auto` would take, for the seed set and after it, and why."""
    auto = make(STRATEGY)
    assert isinstance(auto, Adaptive)
    facts = facts_of(pool)
    spec = auto.settle(replace(facts, labeled=1))
    return f"{auto.settle(facts)}, then {spec}", auto.reason(spec)


def _counts(train: Dataset, test: Dataset, task: Task) -> dict[str, int]:
    """Rows of each class, the most frequent first."""
    counts = dict.fromkeys(task.classes, 0)
    for part in (train, test):
        for label in part["labels"]:
            for name in task.mentions(label):
                counts[name] += 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _sizes(rows: int) -> list[int]:
    return [size for size in SIZES if size < rows]


def _turns(rows: int) -> int:
    return DRAWS * len(_sizes(rows)) + 1 + 2 * len(SHARES) + 2 * DRAWS


def _learned(
    learner: FrozenHead, train: Dataset, test: Dataset, seed: int, done: Callable[[], object]
) -> dict[str, Any]:
    """How fast random learns, what all labels give, and which rows they could do without."""

    def score(rows: NDArray[np.int64]) -> float:
        learner.fit(train.select(rows))
        done()
        return float(learner.evaluate(test)[learner.task.main_metric])

    def drawn(size: int, draw: int) -> NDArray[np.int64]:
        return torch.randperm(len(train), generator=generator_for("draw", seed, draw))[:size].numpy()

    chance = {}
    for size in _sizes(len(train)):
        scores = [score(drawn(size, draw)) for draw in range(DRAWS)]
        chance[size] = float(np.mean(scores)), float(np.std(scores, ddof=1))
    whole = score(np.arange(len(train)))
    norms = gradient_norms(outputs_of(learner, learner.task, train).logits, learner.task, train)
    hardest = np.argsort(-norms, kind="stable")
    kept, by_chance = {}, {}
    for share in SHARES:
        size = max(2, round(share * len(train)))
        kept[share], by_chance[share] = score(hardest[:size]), score(drawn(size, 0))
    return {"chance": chance, "whole": whole, "kept": kept, "drawn": by_chance}


def gradient_norms(logits: Any, task: Task, rows: Dataset) -> NDArray[np.float64]:
    """[N] norm of the gradient of each row's loss in the logits: what it would still teach (Vodrahalli et al. 2018).

    The loss of a row of words is the sum of theirs.
    """
    wanted = task.targets(rows["labels"])
    if task.per_word:
        squares = _error(logits.values, wanted.values, task).square().sum(1)
        return torch.zeros(len(logits), dtype=squares.dtype).index_add(0, logits.row_of, squares).sqrt().numpy()
    norms: NDArray[np.float64] = _error(logits, wanted, task).norm(dim=1).numpy()
    return norms


def _error(logits: Tensor, wanted: Tensor, task: Task) -> Tensor:
    """[B, C] the gradient of each output's loss in its logits."""
    if task.multi_label:
        return logits.double().sigmoid() - wanted
    return logits.double().softmax(1) - torch.nn.functional.one_hot(wanted, logits.shape[1])


def _chosen(pool: Pool, learner: FrozenHead, test: Dataset, seed: int, done: Callable[[], object]) -> Comparison:
    """`auto` against random, over a few seeds, to 200 labels or a tenth of the rows (or the words of so many)."""
    unit, each = ("words", float(pool.lengths(pool.unlabeled).mean())) if pool.task.per_word else ("rows", 1.0)
    batch = round(each * max(2, min(20, len(pool.unlabeled) // 100)))
    areas: dict[str, list[float]] = {STRATEGY: [], "random": []}
    for turn in range(DRAWS):
        for name, found in areas.items():
            active = ActiveLearner(
                pool.copy(),
                learner,
                name,
                test=test,
                budget={unit: 10 * batch},
                batch_size={unit: batch},
                seed=derive_seed("analyze", seed, turn) % 2**31,
                start=name,
            )
            with hushed():
                rounds = active.run()
            curve = Curve(tuple(r.spent for r in rounds), tuple(r.scores[pool.task.main_metric] for r in rounds))
            found.append(area_under_curve(curve))
            done()
    return compare(areas[STRATEGY], areas["random"], seed)


def _before_labels(found: dict[str, Any]) -> str:
    repeated = 1 - found["distinct"] / found["rows"]
    if repeated + found["alike"] > 0.3:
        return "Many texts say the same: choosing them apart saves labels that would teach nothing new."
    return "The texts are varied. Whether labels are worth choosing shows when there are some: run this again then."


def _after_labels(analysis: Analysis) -> str:
    """What it comes to."""
    chosen, sizes = analysis.chosen, sorted(analysis.chance)
    assert chosen is not None
    assert analysis.whole is not None
    gap = f"{chosen.difference:+.3f} [{chosen.low:+.3f}, {chosen.high:+.3f}] to random on the way"
    quick = next((size for size in sizes if analysis.chance[size][0] >= analysis.whole - NEAR), None)
    if chosen.low > 0:
        return f"Labels are worth choosing here: {gap}."
    if chosen.high < 0:
        return f"Choose by chance here: choosing was worse, {gap}."
    if quick is not None and quick <= 200:
        return f"It hardly matters which rows are labelled: {quick} drawn by chance teach as much as all ({gap})."
    return f"Choosing was not told apart from chance here ({gap}); more labels may tell."


def lines_of(analysis: Analysis) -> Sequence[str]:
    """What is said of it, a line each."""
    told = [
        f"rows        {analysis.rows:,}, {analysis.distinct:,} distinct",
        f"alike       {analysis.alike:.1%} of them have a near-duplicate (cosine {ALIKE} or more)",
        f"spread      the embeddings fill {analysis.spread:.0f} directions",
    ]
    if analysis.classes:
        total = sum(analysis.classes.values())
        shares = [f"{name} {number / total:.1%}" for name, number in list(analysis.classes.items())[:8]]
        more = f" and {len(analysis.classes) - 8} more" if len(analysis.classes) > 8 else ""
        told.append(f"classes     {', '.join(shares)}{more}")
        learned = [f"{mean:.3f} at {size:,}" for size, (mean, _) in analysis.chance.items()]
        told.append(f"random      {analysis.metric} {', '.join([*learned, f'{analysis.whole:.3f} at all'])}")
        told.append(f"needed      {analysis.free:.0%} of the rows can go without loss, if the right ones stay")
    return [*told, f"advice      {analysis.strategy}: {analysis.reason}", f"verdict     {analysis.verdict}"]
