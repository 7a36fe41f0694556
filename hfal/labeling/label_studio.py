"""Label Studio: tasks with predictions and a labelling config there, exported annotations back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from hfal.errors import HfalError
from hfal.labeling.records import Record, RowError
from hfal.labeling.words import entities, marks_words, tags_from, text_and_bounds
from hfal.labeling.work import Row, Work
from hfal.pictures import is_picture
from hfal.tasks.base import TYPED

ID, TEXT, LABEL = "hfal_id", "text", "label"
KINDS = ("choices", "labels", "textarea")


def config(work: Work) -> str:
    """The labelling config of a task, as XML."""
    task = work.task
    if marks_words(task):
        beside = "".join(f"  <Text name={quoteattr(n)} value={quoteattr('$' + n)}/>\n" for n in task.inputs[:-1])
        labels = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in task.classes)
        return (
            f'<View>\n{beside}  <Labels name="{LABEL}" toName="{TEXT}">\n{labels}  </Labels>\n'
            f'  <Text name="{TEXT}" value="${TEXT}" granularity="word"/>\n</View>\n'
        )
    first = task.inputs[0]
    texts = "".join(
        f"  <{_tag(work, name)} name={quoteattr(name)} value={quoteattr('$' + name)}/>\n" for name in task.inputs
    )
    if task.asks in TYPED:
        return (
            f'<View>\n{texts}  <TextArea name="{LABEL}" toName={quoteattr(first)} maxSubmissions="1" '
            'editable="true"/>\n</View>\n'
        )
    how = "multiple" if task.multi_label else "single"
    choices = "".join(f"    <Choice value={quoteattr(name)}/>\n" for name in task.names)
    return (
        f'<View>\n{texts}  <Choices name="{LABEL}" toName={quoteattr(first)} choice="{how}">\n{choices}'
        "  </Choices>\n</View>\n"
    )


def tasks(work: Work, rows: list[Row]) -> list[dict[str, Any]]:
    """Rows as tasks to import, the model's view as a prediction where people may see it."""
    found = []
    for row in rows:
        data: dict[str, Any] = {ID: row["id"]}
        if marks_words(work.task):
            data |= {name: row[name] for name in work.task.inputs[:-1]}
            data[TEXT] = text_and_bounds(work, row)[0]
        else:
            data |= work.shown(row)
        task: dict[str, Any] = {"data": data}
        guess = work.suggestion(row)
        if guess is not None:
            version = f"round {work.number - 1}"
            task["predictions"] = [
                {"model_version": version, "score": row["probability"], "result": _result(work, row, guess)}
            ]
        found.append(task)
    return found


def _result(work: Work, row: Row, label: Any) -> list[dict[str, Any]]:
    if work.task.asks in TYPED:
        said = label if isinstance(label, list) else [label]
        return [{"from_name": LABEL, "to_name": work.task.inputs[0], "type": "textarea", "value": {"text": said}}]
    if not marks_words(work.task):
        chosen = label if work.task.multi_label else [label]
        first = work.task.inputs[0]
        return [{"from_name": LABEL, "to_name": first, "type": "choices", "value": {"choices": chosen}}]
    text, bounds = text_and_bounds(work, row)
    result = []
    for first_word, end, kind in entities(work, label, row):
        start, stop = bounds[first_word][0], bounds[end - 1][1]
        value = {"start": start, "end": stop, "text": text[start:stop], "labels": [kind]}
        result.append({"from_name": LABEL, "to_name": TEXT, "type": "labels", "value": value})
    return result


def read_tasks(path: Path) -> Iterator[Record]:
    """The annotations of an export ("JSON"): one record for each person and task.

    Cancelled annotations are skips; drafts and predictions are no labels.
    """
    try:
        exported = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise HfalError(f"{path} is not JSON: {str(error)[:120]}") from None
    if not isinstance(exported, list):
        raise HfalError(f"{path} is no export of Label Studio (JSON): expected a list of tasks")
    for number, task in enumerate(exported, 1):
        shown = json.dumps(task)[:500]
        data = task.get("data") if isinstance(task, dict) else None
        if not isinstance(data, dict) or not isinstance(task.get("annotations"), list):
            yield Record(number, {}, shown, problem=RowError("-", "is no task with data and annotations"))
            continue
        for annotation in task["annotations"]:
            if not isinstance(annotation, dict):
                yield Record(number, {}, shown, problem=RowError("annotations", "holds something else"))
                continue
            yield _record(number, data, annotation, shown)


def _record(number: int, data: Mapping[str, Any], annotation: Mapping[str, Any], shown: str) -> Record:
    fields: dict[str, Any] = {
        "id": data.get(ID),
        "annotator": _who(annotation.get("completed_by")),
        "seconds": annotation.get("lead_time"),
        "time": annotation.get("updated_at") or annotation.get("created_at"),
        "skipped": bool(annotation.get("was_cancelled")),
    }
    if fields["skipped"]:
        return Record(number, fields, shown)
    results = annotation.get("result")
    if not isinstance(results, list):
        return Record(number, fields, shown, problem=RowError("result", "is missing"))
    try:
        values = [one["value"] for one in results if one.get("type") in KINDS]
        if any("labels" in value for value in values):
            spans = [(value["start"], value["end"], value["labels"][0]) for value in values]
            return Record(number, fields, shown, spans=spans)
        choices = [choice for value in values for choice in _said(value)]
        return Record(number, fields, shown, choices=choices)
    except (KeyError, TypeError, IndexError, AttributeError):
        return Record(number, fields, shown, problem=RowError("result", "holds neither choices nor labels"))


def _said(value: Mapping[str, Any]) -> list[Any]:
    """Choices, or what was typed."""
    if "text" not in value:
        return list(value["choices"])
    return [value["text"]] if isinstance(value["text"], str) else list(value["text"])


def _tag(work: Work, name: str) -> str:
    """The tag that shows a column."""
    row = next(iter(work.rows.values()), {})
    return "Image" if is_picture(row.get(name)) else "Text"


def _who(completed_by: Any) -> str | None:
    if isinstance(completed_by, dict):
        return str(completed_by.get("email") or f"user {completed_by.get('id')}")
    return None if completed_by is None else f"user {completed_by}"


def label_of(work: Work, row: Row, record: Record) -> Any:
    """The label that an annotation spells.

    Raises:
        RowError: choices where entities are wanted, none where one is, a span that cuts a word.
    """
    task = work.task
    chosen, found = record.choices or [], record.spans or []
    if task.asks == "span" and not chosen:
        return _answers(work, row, found)
    if task.per_word and not chosen:  # no entity at all is an answer too
        return _tags(work, row, found)
    if marks_words(task) or found:
        raise RowError("result", "holds choices, but the task has spans" if chosen else "holds spans, not choices")
    if task.multi_label or (task.asks in TYPED and chosen):
        return chosen
    if len(chosen) != 1:
        raise RowError("result", f"{len(chosen)} choices, but a row has one label")
    return chosen[0]


def _answers(work: Work, row: Row, found: list[tuple[Any, Any, Any]]) -> list[dict[str, Any]]:
    """Spans of characters as answers; none at all is an answer too."""
    text = text_and_bounds(work, row)[0]
    for start, end, _ in found:
        if not (isinstance(start, int) and isinstance(end, int) and 0 <= start < end <= len(text)):
            raise RowError("result", f"a span from {start!r} to {end!r} in a text of {len(text)} characters")
    return [{"start": start, "text": text[start:end]} for start, end, _ in found]


def _tags(work: Work, row: Row, found: list[tuple[Any, Any, Any]]) -> list[str]:
    text, bounds = text_and_bounds(work, row)
    starts = {start: at for at, (start, _) in enumerate(bounds)}
    ends = {end: at + 1 for at, (_, end) in enumerate(bounds)}
    taken: list[tuple[int, int, str]] = []
    for start, end, kind in found:
        if not (isinstance(start, int) and isinstance(end, int) and 0 <= start < end <= len(text)):
            raise RowError("result", f"a span from {start!r} to {end!r} in a text of {len(text)} characters")
        shown = text[start:end]
        start += len(shown) - len(shown.lstrip())
        end -= len(shown) - len(shown.rstrip())
        if start not in starts or end not in ends:
            raise RowError("result", f"the span {shown!r} ({start} to {end}) cuts a word: spans hold whole words")
        if kind not in work.task.classes:
            raise RowError("result", f"entity type {kind!r} is not one of the task")
        taken.append((starts[start], ends[end], kind))
    taken.sort()
    for before, after in pairwise(taken):
        if after[0] < before[1]:
            raise RowError("result", f"two spans overlap at word {after[0]}")
    return tags_from(work, taken, len(bounds))
