"""Several annotators: one label to train on from the labels of each, and how far they agree."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from hfal.answers import Answer
from hfal.errors import HfalError
from hfal.tasks.base import Task

Resolve = Literal["majority", "dawid_skene"]
Labels = dict[str, dict[str, Any]]
"""id -> annotator -> label, as names."""


def labels_of(answers: Mapping[str, Mapping[str, Answer]]) -> Labels:
    """What people said, without what they skipped; rows that nobody labelled are left out."""
    found = {row: {who: a.label for who, a in people.items() if not a.skipped} for row, people in answers.items()}
    return {row: people for row, people in found.items() if people}


def units(task: Task, label: Any) -> list[str]:
    """A label as what people can differ in: itself, a yes or no for each class, a tag for each word."""
    if task.per_word:
        return list(label)
    if task.multi_label:
        return ["yes" if name in label else "no" for name in task.names]
    return [json.dumps(label, ensure_ascii=False)] if isinstance(label, list) else [label]


def _label(task: Task, decided: Sequence[str]) -> Any:
    if task.per_word:
        return list(decided)
    if task.multi_label:
        return [name for name, said in zip(task.names, decided, strict=True) if said == "yes"]
    whole = decided[0]
    return json.loads(whole) if pa.types.is_list(task.arrow_label) else whole


def resolved(labels: Labels, task: Task, how: Resolve = "majority") -> dict[str, Any]:
    """One label a row.

    Units (`units`) are decided one by one. Where that spells an illegal sequence of tags, the sequence of the
    annotator who is nearest to it is taken. Ties go to the annotators who agree with the others most.

    Args:
        labels: of all rows that are to be looked at together.
        task: of the labels.
        how: "majority", or "dawid_skene": people weighted by the errors they seem to make (Dawid and Skene 1979).
    """
    trust = _trust(labels, task)
    if how == "dawid_skene":
        decided = _dawid_skene(labels, task)
    else:
        decided = {row: _majority(people, task, trust) for row, people in labels.items()}
    found = {}
    for row, people in labels.items():
        label = _label(task, decided[row])
        if len(people) > 1 and task.per_word and not _legal(task, label):
            label = max(people.items(), key=lambda one: (_same(one[1], label), trust[one[0]], one[0]))[1]
        found[row] = next(iter(people.values())) if len(people) == 1 else label
    return found


def _same(one: Sequence[str], other: Sequence[str]) -> float:
    return float(np.mean([a == b for a, b in zip(one, other, strict=True)]))


def alike(task: Task, one: Any, other: Any) -> float:
    """The share of a label's units (`units`) that are the same in another."""
    return _same(units(task, one), units(task, other))


def _legal(task: Task, label: Any) -> bool:
    try:
        return bool(task.decode(task.encode(label, "a vote")) == label)
    except HfalError:
        return False


def _trust(labels: Labels, task: Task) -> dict[str, float]:
    """Of each annotator, the share of units in which the others say the same."""
    same: dict[str, list[float]] = defaultdict(list)
    for people in labels.values():
        for (a, one), (b, other) in combinations(people.items(), 2):
            share = alike(task, one, other)
            same[a].append(share)
            same[b].append(share)
    everyone = {who for people in labels.values() for who in people}
    return {who: float(np.mean(same[who])) if same[who] else 0.0 for who in everyone}


def _majority(people: Mapping[str, Any], task: Task, trust: Mapping[str, float]) -> list[str]:
    votes = [Counter[str]() for _ in units(task, next(iter(people.values())))]
    weight: dict[tuple[int, str], tuple[float, str]] = {}
    for who, label in people.items():
        for at, said in enumerate(units(task, label)):
            votes[at][said] += 1
            weight[at, said] = max(weight.get((at, said), (-1.0, "")), (trust[who], who))
    return [max(counts, key=lambda said: (counts[said], weight[at, said])) for at, counts in enumerate(votes)]


def _dawid_skene(labels: Labels, task: Task) -> dict[str, list[str]]:
    from_crowdkit = _people_extra("crowdkit.aggregation", "Dawid-Skene")
    import pandas as pd

    rows = [
        (f"{at}\0{row}", who, said)
        for row, people in labels.items()
        for who, label in people.items()
        for at, said in enumerate(units(task, label))
    ]
    frame = pd.DataFrame(rows, columns=["task", "worker", "label"])
    found = from_crowdkit.DawidSkene(n_iter=100).fit_predict(frame)
    return {
        row: [found[f"{at}\0{row}"] for at in range(len(units(task, next(iter(people.values())))))]
        for row, people in labels.items()
    }


def agreement(labels: Labels, task: Task) -> dict[str, Any]:
    """How far people agree, over the rows that at least two have labelled.

    Returns:
        `rows`; `share` of units on which a pair agrees; `krippendorff` (alpha, nominal); `cohen` (kappa by pair of
        people); `fleiss` (kappa, over rows with the same number of labels). Values that are not defined (nobody
        could have disagreed) are left out. Empty where no row has two labels.
    """
    shared = {row: people for row, people in labels.items() if len(people) > 1}
    if not shared:
        return {}
    everyone = sorted({who for people in shared.values() for who in people})
    table: list[list[str | None]] = []  # a unit a line, a person a column
    for people in shared.values():
        said = {who: units(task, label) for who, label in people.items()}
        for at in range(len(next(iter(said.values())))):
            table.append([said[who][at] if who in said else None for who in everyone])
    share = float(np.mean([alike(task, a, b) for p in shared.values() for a, b in _pairs(p)]))
    values = {"krippendorff": _krippendorff(table), "fleiss": _fleiss(table)}
    found: dict[str, Any] = {"rows": len(shared), "share": share}
    found |= {name: value for name, value in values.items() if value is not None}
    found["cohen"] = _cohen(table, everyone)
    return found


def _pairs(people: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    return list(combinations(people.values(), 2))


def _krippendorff(table: Sequence[Sequence[str | None]]) -> float | None:
    names = sorted({said for line in table for said in line if said is not None})
    if len(names) < 2:
        return None
    codes = {name: float(index) for index, name in enumerate(names)}
    data = np.array([[np.nan if said is None else codes[said] for said in line] for line in table]).T
    alpha = _people_extra("krippendorff", "agreement").alpha(reliability_data=data, level_of_measurement="nominal")
    return float(alpha)


def _cohen(table: Sequence[Sequence[str | None]], everyone: Sequence[str]) -> dict[str, float]:
    from sklearn.metrics import cohen_kappa_score

    found = {}
    for a, b in combinations(range(len(everyone)), 2):
        both = [(line[a], line[b]) for line in table if line[a] is not None and line[b] is not None]
        if both and len({said for pair in both for said in pair}) > 1:
            one, other = zip(*both, strict=True)
            found[f"{everyone[a]} and {everyone[b]}"] = float(cohen_kappa_score(one, other))
    return found


def _fleiss(table: Sequence[Sequence[str | None]]) -> float | None:
    """Over the units that as many people labelled as most were labelled by."""
    sizes = Counter(sum(said is not None for said in line) for line in table)
    usual = sizes.most_common(1)[0][0]
    lines = [[said for said in line if said is not None] for line in table]
    lines = [line for line in lines if len(line) == usual]
    names = sorted({said for line in lines for said in line})
    if len(names) < 2:
        return None
    counts = np.array([[line.count(name) for name in names] for line in lines])
    return float(_people_extra("statsmodels.stats.inter_rater", "agreement").fleiss_kappa(counts))


def _people_extra(module: str, what: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        raise HfalError(f"{what} needs the people extra: pip install 'hfal[people]'") from None
