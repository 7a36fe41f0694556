"""The card of a run's data set: what one needs to load it and to trust it."""

from __future__ import annotations

import html
import io
import re
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from hfal.hub.contents import config_name, model_named, shared_config, split_path
from hfal.report.figures import Line, draw_curves, title_of
from hfal.report.sentences import agreement_sentence, saving_line
from hfal.report.together import agreement_of
from hfal.report.view import RunView

CATEGORIES = {
    "text_classification": "text-classification",
    "token_classification": "token-classification",
    "pairs": "text-classification",
    "relations": "text-classification",
    "generation": "text-generation",
    "question_answering": "question-answering",
    "visual_question_answering": "visual-question-answering",
}
CURVE = "curve.png"
SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|~$])")


def plain(value: Any) -> str:
    """Text from the data as Markdown shows it: no markup, no HTML, one line."""
    return SPECIAL.sub(r"\\\1", html.escape(" ".join(str(value).split()), quote=False))


def card(run: RunView, name: str, licence: str | None, numbers: list[int], labelled: list[int]) -> dict[str, bytes]:
    """`README.md`, and the picture of the learning curve where there is one.

    Args:
        run: what is shared.
        name: OWNER/NAME.
        licence: of the source.
        numbers: of the rounds that the repo has.
        labelled: those of them that have labels.
    """
    config = shared_config(run)
    curve = run.curve(run.metrics[0]) if run.metrics else None
    drawn = curve is not None and len(curve.cost) > 1
    environment = Environment(loader=PackageLoader("hfal.hub"), autoescape=False, undefined=StrictUndefined)
    environment.filters |= {"plain": plain, "title": title_of}
    done = [r for r in run.rounds if r.number in numbers]
    text = environment.get_template("card.md").render(
        head=yaml.safe_dump(_metadata(run, licence, numbers, labelled), sort_keys=False, allow_unicode=True),
        name=name,
        config=config,
        model=model_named(config),
        example=config_name(numbers[-1]),
        pool=run.pool,
        rounds=done,
        metrics=run.metrics[:3],
        waiting=len(run.rounds) if len(run.rounds) in numbers else None,
        budget=str(run.budget),
        agreement=agreement_sentence(agreement_of(run)),
        saving=saving_line(done[-1].saving, run.budget.unit) if done else "",
        licence=licence,
        curve=CURVE if drawn else None,
        last=done[-1] if done else None,
    )
    files = {"README.md": text.encode()}
    if curve is not None and drawn:
        buffer = io.BytesIO()
        lines = [Line(run.strategy, [curve], run.interval(run.metrics[0]))]
        draw_curves({run.metrics[0]: lines}, run.budget.unit).savefig(buffer, format="png", dpi=110, metadata={})
        files[CURVE] = buffer.getvalue()
    return files


def _metadata(run: RunView, licence: str | None, numbers: list[int], labelled: list[int]) -> dict[str, Any]:
    """What the Hub and `load_dataset` read: a training set, and each round with its splits.

    A split is named when it has rows: `datasets` knows no empty ones.
    """
    rounds = [
        {
            "config_name": config_name(n),
            "data_files": [
                {"split": split, "path": split_path(n, split)}
                for split in ("queried", "labeled")[: 1 + (n in labelled)]
            ],
        }
        for n in numbers
    ]
    everything = {"split": "train", "path": "rounds/*/labeled-*.parquet"}
    found: dict[str, Any] = {"license": licence or "unknown", "tags": ["hfal", "active-learning"]}
    if run.pool.get("task") in CATEGORIES:
        found["task_categories"] = [CATEGORIES[run.pool["task"]]]
    default = [{"config_name": "default", "data_files": [everything], "default": True}] if labelled else []
    return found | {"configs": [*default, *rounds]}
