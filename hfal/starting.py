"""`hfal init`: a config with comments, from a look at the data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from datasets import ClassLabel, Dataset

from hfal.config import Source, check_config
from hfal.data import load_source
from hfal.errors import HfalError, listing
from hfal.files import write_text
from hfal.pool import Pool
from hfal.tasks import TextClassification
from hfal.tasks.text import check_columns

LABEL_NAMES = ("label", "labels", "class", "category", "sentiment", "target", "intent", "y")
DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

TEMPLATE = """\
# Written by `hfal init`. Run it with: hfal run {path}
# Every key is explained in docs/configuration.md.

output_dir: {output_dir}        # the run folder: rounds, model, report
seed: 0                         # of every chance; the same seed gives the same run

# The rows to choose from, and rows that are only measured on. Drawn from one source they never overlap.
pool: {{source: {source}{skip}}}
test: {{source: {source}, rows: {test_rows}{skip}}}

task:
  type: text_classification
  text: {text}                  # the column of texts
  label: {label}                # the column of labels
  multi_label: {multi_label}             # true where a text can have several labels

# frozen_head: embeddings once, then seconds a round. fine_tune: the whole model in each round.
learner: {{type: frozen_head, model: {model}}}

strategy: {strategy}            # `hfal strategies` lists what there is
oracle: simulated               # the labels that the data has: active learning in retrospect
baseline: random                # the same budget by chance beside it

budget: {{rows: {budget}}}          # labels in all
batch: {{rows: {batch}}}            # labels in each round
"""

Ask = Callable[[str, str | None, str | None], str]


def write_config(
    path: Path,
    ask: Ask,
    *,
    source: str | None,
    text: str | None,
    label: str | None,
    model: str | None,
    tell: Callable[[str], Any],
) -> None:
    """Ask for what is not given, look at the data, write the config.

    Raises:
        HfalError: the data cannot be read, or has no column that could be text or labels.
    """
    source = ask("source", None, source)
    rows = load_source(Source(source=source))
    tell(f"{len(rows):,} rows with columns {listing(rows.column_names)}")
    text = ask("text", _likely_text(rows), text)
    check_columns(rows, [text])
    label = ask("label", _likely_label(rows, text), label)
    check_columns(rows, [label])
    model = ask("model", "demo/minilm" if source.startswith("demo/") else DEFAULT_MODEL, model)
    multi_label = isinstance(rows[0][label], list)
    task = TextClassification(text, label, multi_label=multi_label).resolve(rows)
    tell(f"{len(task.names)} labels: {listing(task.names)}")
    empty = sum(value is None or not value.strip() for value in rows[text])
    if empty:
        tell(f"{empty:,} rows have no text: the config leaves them out (skip_empty)")
    pool = Pool.from_dataset(rows, task, skip_empty=True)
    distinct = len(pool) - pool.duplicates
    test_rows = max(1, min(2000, distinct // 4))
    batch = max(1, min(50, (distinct - test_rows) // 20))
    content = TEMPLATE.format(
        path=path,
        output_dir=f"runs/{_stem(source)}",
        source=_quote(source),
        skip=", skip_empty: true" if empty else "",
        test_rows=test_rows,
        text=_quote(text),
        label=_quote(label),
        multi_label=str(multi_label).lower(),
        model=_quote(model),
        strategy="margin>kmeans(prefilter=10)",
        budget=batch * 11,
        batch=batch,
    )
    check_config(yaml.safe_load(content), str(path))
    write_text(path, content)


def _quote(value: str) -> str:
    """A YAML scalar that reads back as this text, also inside braces."""
    return str(yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=10**6)).strip()[1:-1]


def _stem(source: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in Path(source).stem) or "run"


def _likely_text(rows: Dataset) -> str:
    """The text column with the longest values."""
    columns = [n for n, f in rows.features.items() if getattr(f, "dtype", "") in ("string", "large_string")]
    if not columns:
        raise HfalError(f"no column holds text; the data has: {listing(rows.column_names)}")
    sample = rows.select(range(min(200, len(rows))))
    return str(max(columns, key=lambda name: sum(len(value or "") for value in sample[name])))


def _likely_label(rows: Dataset, text: str) -> str | None:
    """A column of class labels, or one whose name says so."""
    for name, feature in rows.features.items():
        if isinstance(getattr(feature, "feature", feature), ClassLabel):
            return str(name)
    lower = {str(name).lower(): str(name) for name in rows.column_names if name != text}
    return next((lower[name] for name in LABEL_NAMES if name in lower), None)
