"""`hfal init`: a config with comments, from a look at the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from datasets import ClassLabel, Dataset, Image

from hfal.config import Source, check_config
from hfal.config_yaml import read_yaml
from hfal.data import load_source
from hfal.errors import HfalError, listing
from hfal.files import write_text
from hfal.pool import Pool, check_labels, drop_empty
from hfal.tasks import Pairs, QuestionAnswering, Task, TextClassification, TokenClassification, VisualQuestionAnswering
from hfal.tasks.base import TYPED
from hfal.tasks.labels import check_columns
from hfal.tasks.schemes import tags_for

LABEL_NAMES = ("label", "labels", "answers", "answer", "class", "category", "sentiment", "target", "intent", "y")
WORD_NAMES = ("tokens", "words")
TAG_NAMES = ("ner_tags", "tags", "pos_tags", "labels")
DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

LEARNER_OF = {"visual_question_answering": "fusion", "question_answering": "extract"}
"""Tasks that have a learner of their own."""
TEMPLATE = """\
# Written by `hfal init`. Run it with: hfal run {path}
# Every key is explained in docs/configuration.md{more}.

output_dir: {output_dir}  # the run folder: rounds, labels, model, report
seed: 0  # of every chance; the same seed gives the same run

{rows}

{task}

{learner}

strategy: {strategy}  # `hfal strategies` lists what there is
{labels}

budget: {{{unit}: {budget}}}  # {unit} that may be labelled in all; may be raised later
batch: {{{unit}: {batch}}}  # {unit} in each round
"""

WITH_LABELS = {
    "more": "",
    "rows": """\
# The rows to choose from, and rows that are only measured on. Drawn from one source they never overlap.
pool: {{source: {source}{skip}}}
test: {{source: {source}, rows: {test_rows}{skip}}}""",
    "labels": """\
oracle: simulated  # the labels that the data has: active learning in retrospect
baseline: random  # the same budget by chance beside it""",
}

FOR_PEOPLE = {
    "more": ", labelling in docs/people.md",
    "rows": "pool: {{source: {source}{skip}}}  # the rows to choose from",
    "labels": """\
oracle: people  # each round waits for labels: hfal label, hfal push, or hfal export
people: {{overlap: 1, suggest: true}}  # overlap: how many people answer each row
audit: 0.1  # share of a batch drawn by chance: tells how good the model is, without a test set""",
}

PARTLY = FOR_PEOPLE | {
    "rows": """\
# The rows to choose from. Those that have a label are learned from the start.
pool: {{source: {source}, seed_labels: {label}{skip}}}""",
}
KNOWN_NAMES = "\n  label_names: {names}  # add what no row has yet"

ASKED_TEXTS = """\
task:
  type: text_classification
  text: {text}  # the column of texts
  label_names: {names}
  multi_label: false  # true where a text can have several labels"""

ASKED_WORDS = """\
task:
  type: token_classification
  tokens: {text}  # the column of word lists
  scheme: BIO
  label_names: {names}"""

TEXT_TASK = """\
task:
  type: text_classification
  text: {text}  # the column of texts
  label: {label}  # the column of labels
  multi_label: {multi_label}  # true where a text can have several labels"""

WORD_TASK = """\
task:
  type: token_classification
  tokens: {text}  # the column of word lists
  tags: {label}  # the column of their tags
  scheme: {scheme}  # how tags spell entities; none for tags that do not
  illegal: {illegal}  # repair mends tags that the scheme forbids"""

PAIR_NAMES = (
    ("left", "right"),
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("text_a", "text_b"),
    ("text1", "text2"),
)
"""Columns that are called like the two texts of a pair."""
LEARNERS = {
    "frozen_head": """\
# frozen_head: embeddings once, then seconds a round. fine_tune: the whole model in each round.
learner: {{type: frozen_head, model: {model}}}""",
    "fusion": """\
# The model reads the questions. Name an image_model (and image_size: 224), or a small ResNet learns from scratch.
learner: {{type: fusion, model: {model}, image_size: 64}}""",
    "extract": "learner: {{type: extract, model: {model}}}  # any model of AutoModelForQuestionAnswering",
}
PAIR_TASK = """\
task:
  type: pairs
  left: {left}  # the columns of both texts
  right: {right}
"""
VQA_TASK = """\
task:
  type: visual_question_answering
  image: {left}  # the column of pictures, or of their paths
  question: {right}
"""
QA_TASK = """\
task:
  type: question_answering
  question: {left}
  context: {right}  # the text in which the answer stands
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
    classes: str | None = None,
) -> None:
    """Ask for what is not given, look at the data, write the config.

    Without a column of labels, or where it has gaps or `classes` are given, it is a config for people who label.

    Raises:
        HfalError: the data cannot be read, or has no column that could be text or labels.
    """
    source = ask("source", None, source)
    rows = load_source(Source(source=source))
    tell(f"{len(rows):,} rows with columns {listing(rows.column_names)}")
    text = ask("text", _likely_text(rows), text)
    check_columns(rows, _columns(rows, text))
    if classes is None and label is None and (label := _likely_label(rows, text)) is None:
        tell("No column looks like labels: people will give them. Which are there, divided by commas?")
        classes = ask("labels", None, None)
    label = None if classes is not None else ask("label", label, label)
    if label is not None:
        check_columns(rows, [label])
    model = ask("model", model_for(source, None), model)
    task, section = _asked_task(rows, text, classes) if label is None else _task_of(rows, text, label)
    tell(f"{len(task.classes)} classes: {listing(task.classes)}")
    unlabelled = 0 if label is None else sum(each is None for each in rows[label])
    if unlabelled:
        tell(
            f"{unlabelled:,} rows have no label: people will give them; those that are there are learned from the start"
        )
        section += "" if task.asks in TYPED else KNOWN_NAMES.format(names=_list(task.names))
    rows = task.prepare(rows)
    kept = drop_empty(rows, task)
    if len(kept) < len(rows):
        tell(f"{len(rows) - len(kept):,} rows have no text: the config leaves them out (skip_empty)")
    pool = Pool.from_dataset(kept, task)
    distinct = len(pool) - pool.duplicates
    test_rows = 0 if label is None or unlabelled else max(1, min(2000, distinct // 4))
    batch = max(1, min(50, (distinct - test_rows) // 20))
    if task.per_word:  # what so many rows hold, in round numbers
        batch = max(10, 10 * round(batch * float(pool.lengths(pool.unlabeled).mean()) / 10))
    values = {
        "path": path,
        "output_dir": f"runs/{_stem(source)}",
        "source": _quote(source),
        "skip": ", skip_empty: true" if len(kept) < len(rows) else "",
        "test_rows": test_rows,
        "label": _quote(label or ""),
        "task": section,
        "learner": LEARNERS[LEARNER_OF.get(task.name, "frozen_head")].format(model=_quote(model)),
        "strategy": "auto",
        "unit": "words" if task.per_word else "rows",
        "budget": batch * 11,
        "batch": batch,
    }
    parts = FOR_PEOPLE if label is None else PARTLY if unlabelled else WITH_LABELS
    content = TEMPLATE.format(**values, **{name: part.format(**values) for name, part in parts.items()})
    check_config(read_yaml(content), str(path))
    write_text(path, content)


def model_for(source: str, model: str | None) -> str:
    """The encoder for a source, where none is named."""
    return model or ("demo/minilm" if source.startswith("demo/") else DEFAULT_MODEL)


def look_at(source: str, text: str | None, label: str | None) -> tuple[Dataset, Task, bool]:
    """The rows of a source, the task that their columns speak of, and whether they have labels.

    Raises:
        HfalError: the data cannot be read, or has no column that could be text.
    """
    rows = load_source(Source(source=source))
    text = text or _likely_text(rows)
    check_columns(rows, _columns(rows, text))
    label = label or _likely_label(rows, text)
    if label is not None:
        check_columns(rows, [label])
    task = _asked_task(rows, text, "no, yes")[0] if label is None else _task_of(rows, text, label)[0]
    return drop_empty(task.prepare(rows), task), task, label is not None


def _asked_task(rows: Dataset, text: str, classes: str | None) -> tuple[Task, str]:
    """The task of people who are asked for these classes, and how a config says it."""
    names = [name.strip() for name in (classes or "").split(",") if name.strip()]
    if not names:
        raise HfalError("labels: name the classes, divided by commas, as in --labels 'negative, neutral, positive'")
    if len(_columns(rows, text)) == 2:
        return _of_two(rows, text, None, names)
    if not _is_words(rows, text):
        task: Task = TextClassification(text, label_names=names).resolve(rows)
        return task, ASKED_TEXTS.format(text=_quote(text), names=_list(task.names))
    tags = tags_for(names, "BIO")
    words = TokenClassification(text, label_names=tags).resolve(rows)
    return words, ASKED_WORDS.format(text=_quote(text), names=_list(tags))


def _list(names: Sequence[str]) -> str:
    return f"[{', '.join(_quote(name) for name in names)}]"


def _task_of(rows: Dataset, text: str, label: str) -> tuple[Task, str]:
    """The task that the columns speak of, and how a config says it."""
    if len(_columns(rows, text)) == 2:
        return _of_two(rows, text, label, None)
    names = {"text": _quote(text), "label": _quote(label)}
    if not _is_words(rows, text):
        multi_label = isinstance(rows[0][label], list)
        task: Task = TextClassification(text, label, multi_label=multi_label).resolve(rows)
        return task, TEXT_TASK.format(multi_label=str(multi_label).lower(), **names)
    words = TokenClassification(text, label).resolve(rows)
    try:
        check_labels(words.prepare(rows), words, "the data")
    except HfalError as error:
        if "illegal: repair" not in str(error):
            raise
        words = replace(words, illegal="repair")
    return words, WORD_TASK.format(scheme=words.scheme, illegal=words.illegal, **names)


def _columns(rows: Dataset, text: str) -> list[str]:
    """The columns that are read: one, or two with a comma between them."""
    return [text] if text in rows.column_names else [name.strip() for name in text.split(",")]


def _of_two(rows: Dataset, text: str, label: str | None, names: list[str] | None) -> tuple[Task, str]:
    """The task of rows with a pair of texts, a picture and a question, or a question and its context."""
    left, right = _columns(rows, text)
    told = {"left": _quote(left), "right": _quote(right)}
    column = "answers" if label is None else label
    if isinstance(rows.features[left], Image):
        section = VQA_TASK.format(**told)
        task: Task = VisualQuestionAnswering(left, right, column, names)
    elif label is not None and _holds_answers(rows, label):
        return QuestionAnswering(left, right, label), QA_TASK.format(**told) + f"  answers: {_quote(label)}"
    else:
        section, column = PAIR_TASK.format(**told), "label" if label is None else label
        task = Pairs(left, right, column, names)
    known = task.resolve(task.prepare(rows))
    field = "answers" if isinstance(task, VisualQuestionAnswering) else "label"
    more = f"  label_names: {_list(known.names)}" if names else f"  {field}: {_quote(column)}"
    return known, section + more


def _holds_answers(rows: Dataset, column: str) -> bool:
    """Whether a column holds answers as SQuAD has them."""
    feature = rows.features[column]
    return isinstance(feature, dict) and {"text", "answer_start"} <= feature.keys()


def _is_words(rows: Dataset, column: str) -> bool:
    """Whether a column holds lists of words."""
    return getattr(getattr(rows.features[column], "feature", None), "dtype", "") in ("string", "large_string")


def _quote(value: str) -> str:
    """A YAML scalar that reads back as this text, also inside braces."""
    return str(yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=10**6)).strip()[1:-1]


def _stem(source: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in Path(source).stem) or "run"


def _likely_two(rows: Dataset) -> str | None:
    """Two columns that belong together."""
    names = set(rows.column_names)
    pictures = [name for name, feature in rows.features.items() if isinstance(feature, Image)]
    if pictures and "question" in names:
        return f"{pictures[0]}, question"
    if "answers" in names and {"question", "context"} <= names and _holds_answers(rows, "answers"):
        return "question, context"
    return next((f"{left}, {right}" for left, right in PAIR_NAMES if {left, right} <= names), None)


def _likely_text(rows: Dataset) -> str:
    """A column of word lists that is called so, or the text column with the longest values."""
    two = _likely_two(rows)
    if two is not None:
        return two
    words = [name for name in WORD_NAMES if name in rows.column_names and _is_words(rows, name)]
    if words:
        return words[0]
    columns = [n for n, f in rows.features.items() if getattr(f, "dtype", "") in ("string", "large_string")]
    if not columns:
        raise HfalError(f"no column holds text; the data has: {listing(rows.column_names)}")
    sample = rows.select(range(min(200, len(rows))))
    return str(max(columns, key=lambda name: sum(len(value or "") for value in sample[name])))


def _likely_label(rows: Dataset, text: str) -> str | None:
    """A column of class labels, or one whose name says so."""
    columns = _columns(rows, text)
    if len(columns) == 1 and _is_words(rows, text):
        return next((name for name in TAG_NAMES if name in rows.column_names), None)
    for name, feature in rows.features.items():
        if isinstance(getattr(feature, "feature", feature), ClassLabel):
            return str(name)
    lower = {str(name).lower(): str(name) for name in rows.column_names if name not in columns}
    return next((lower[name] for name in LABEL_NAMES if name in lower), None)
