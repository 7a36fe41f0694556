"""Push a run's rounds to the Hub, pull labels from it, clone a run."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml
from datasets import Dataset, load_dataset

from hfal.answers import Answers
from hfal.config import apply_change, check_config
from hfal.data import READERS
from hfal.errors import HfalError, count
from hfal.files import read_json, write_json, write_yaml
from hfal.hub.card import card
from hfal.hub.contents import (
    MIRROR,
    PROVENANCE,
    as_parquet,
    check_name,
    config_name,
    labeled,
    labels_digest,
    mirror,
    provenance,
    queried,
    selection_digest,
    split_path,
)
from hfal.hub.repo import TRIES, MovedError, Repo, State
from hfal.labeling.importing import Taken, take
from hfal.labeling.records import Record, Refused, RowError
from hfal.report.view import RunView, open_run

logger = logging.getLogger("hfal")

LINK = "hub.json"
"""In the run folder: the repo that it was pushed to or cloned from."""
_NOT_THERE = "{folder} is not on the Hub yet: hfal push {folder} OWNER/NAME"


@dataclass(frozen=True)
class Pushed:
    """What a push did: rounds that went up, and rounds that were there."""

    repo: str
    new: list[int]
    known: list[int]


def tag_of(number: int) -> str:
    """The tag of a finished round."""
    return f"round-{number:04d}"


def push(
    folder: Path,
    name: str | None = None,
    *,
    public: bool = False,
    licence: str | None = None,
    ask: Callable[[str], bool],
) -> Pushed:
    """Push the rounds of a run that the repo does not have, one commit each.

    A round that waits for labels is pushed with its `queried` split; when it is finished, once more with its labels,
    and tagged. Pushing the same again does nothing.

    Args:
        folder: of the run.
        name: OWNER/NAME; where the run was pushed before if it is not given.
        public: whether everyone may see it; otherwise the repo is private.
        licence: of the source's texts, as the Hub names licences.
        ask: a question that needs a yes, where something is doubtful.

    Raises:
        HfalError: the repo has another round under the same number, or labels that this run lacks; or the Hub does
            not answer.
    """
    run = open_run(folder)
    numbers = run.ledger.chosen()
    if not numbers:
        raise HfalError(f"{folder} has no round yet: hfal run {folder}")
    link = _link(folder)
    if name is None and link is None:
        raise HfalError(_NOT_THERE.format(folder=folder))
    repo = Repo(name or link["repo"])  # type: ignore[index]
    licence = licence or (link or {}).get("licence") or run.pool.get("licence")
    if licence is None and not ask(
        "The licence of the source is not known (--license NAME says it). Push the texts of the queried rows?"
    ):
        raise HfalError("not pushed: say under which licence the source's texts may be shared, with --license NAME")
    repo.create(private=not public)
    state = repo.state()
    if not state.private and not public:
        raise HfalError(f"{repo.name} is public: its texts can be seen by everyone; --public says that this is meant")
    new: list[int] = []
    known: list[int] = []
    for number in numbers:
        (new if _push_round(repo, run, number, licence) else known).append(number)
    write_json(Path(folder) / LINK, {"repo": repo.name, "licence": licence})
    return Pushed(repo.name, new, known)


def _link(folder: Path) -> dict[str, Any] | None:
    """Where the run was pushed to or cloned from."""
    path = Path(folder) / LINK
    return read_json(path) if path.exists() else None


def _push_round(repo: Repo, run: RunView, number: int, licence: str | None) -> bool:
    """Whether a round had to be pushed. What fails half-way is looked at afresh before it is tried again."""
    for _ in range(TRIES):
        try:
            return bool(repo.again(lambda: _try_push(repo, run, number, licence)))
        except MovedError:
            logger.warning("%s was changed by someone else meanwhile: looking again", repo.name)
    raise HfalError(f"{repo.name} is being changed by others without end: run the same command again later")


def _try_push(repo: Repo, run: RunView, number: int, licence: str | None) -> bool:
    state = repo.look()
    ours = {"selection": selection_digest(run, number), "labels": labels_digest(run, number)}
    theirs = state.rounds.get(str(number))
    if theirs is not None:
        _check_same(repo, run, number, ours, theirs)
        if ours["labels"] is None or theirs["labels"] == ours["labels"]:
            if theirs["labels"] is not None and tag_of(number) not in state.tags:  # that is where an earlier push ended
                repo.tag(tag_of(number), state.head)
            return False
        _check_pulled(repo, run, number, state)
    rounds = state.rounds | {str(number): ours}
    files = _files(run, number, licence, rounds, repo.name, state.files)
    message = f"Round {number}: " + ("labelled" if ours["labels"] else f"{len(run.asked(number))} rows to label")
    head = repo.commit(files, message, state.head)
    if ours["labels"] is not None:
        repo.tag(tag_of(number), head)
    return True


def _check_same(repo: Repo, run: RunView, number: int, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    if theirs["selection"] != ours["selection"]:
        raise HfalError(
            f"{repo.name} has another round {number}: someone else pushed other rows under this number; "
            f"push {run.folder} to a repo of its own"
        )
    if None not in (theirs["labels"], ours["labels"]) and theirs["labels"] != ours["labels"]:
        raise HfalError(
            f"{repo.name} has round {number} with other labels: it was finished elsewhere; hfal clone {repo.name} "
            "DIR goes on from there"
        )


def _check_pulled(repo: Repo, run: RunView, number: int, state: State) -> None:
    """Labels that others pushed must not be overwritten unseen."""
    known = Answers(run.ledger.path(number)).current()
    missing = []
    for row in _labeled_split(repo, number, state) or ():
        people = known.get(str(row.get("id")), {})
        if not people or row.get("annotator") not in (None, *people):
            missing.append(row.get("id"))
    if missing:
        raise HfalError(
            f"{repo.name} has {count(len(missing), 'label')} of round {number} that this run lacks (the first: "
            f"{missing[0]}): hfal pull {run.folder} first"
        )


def _files(
    run: RunView, number: int, licence: str | None, rounds: dict[str, Any], name: str, there: frozenset[str]
) -> dict[str, bytes]:
    """All that a round's commit holds: of earlier rounds the labels that came corrected with it."""
    known = [int(n) for n in rounds]
    files = {split_path(number, "queried"): as_parquet(queried(run, number))}
    for n in _labelled_by(run, number):
        if len(rows := labeled(run, n)):
            files[split_path(n, "labeled")] = as_parquet(rows)
    files |= mirror(run, number)
    text = json.dumps(provenance(run, licence, rounds), indent=2, ensure_ascii=False, default=str) + "\n"
    files[PROVENANCE] = text.encode()
    labelled = [n for n in sorted(known) if split_path(n, "labeled") in there | files.keys()]
    return files | card(run, name, licence, sorted(known), labelled)


def _labelled_by(run: RunView, number: int) -> list[int]:
    """The rounds whose rows have labels in a round's `labels.parquet`: that round, and those that it corrects."""
    table = None if labels_digest(run, number) is None else run.ledger.labels(number)
    ids = set() if table is None else set(table["id"].to_pylist())
    return [n for n in range(number + 1) if any(row["id"] in ids for row in run.asked(n))]


def _labeled_split(repo: Repo, number: int, state: State) -> Dataset | None:
    """What the repo holds as labels of a round, wherever its card (or else their name) says they are."""
    patterns = _said_in_card(repo, number, state) or [
        path for path in sorted(state.files) if re.match(rf"(rounds/{number:04d}|round_{number:04d})/labeled", path)
    ]
    files = [path for path in sorted(state.files) if any(fnmatch(path, pattern) for pattern in patterns)]
    if not files:
        return None
    kind = READERS.get(Path(files[0]).suffix)
    if kind not in ("parquet", "json", "csv"):
        raise HfalError(f"{repo.name}: {files[0]} cannot be read: labels come as parquet, jsonl or csv")
    local = [str(repo.read(path, state.head)) for path in files]
    return load_dataset(kind, data_files=local, split="train")


def _said_in_card(repo: Repo, number: int, state: State) -> list[str]:
    if "README.md" not in state.files:
        return []
    head = re.match(
        r"\A---\r?\n(.*?)\r?\n---", repo.read("README.md", state.head).read_text(encoding="utf-8"), re.DOTALL
    )
    content = yaml.safe_load(head[1]) if head else None
    for config in (content or {}).get("configs") or []:
        if config.get("config_name") == config_name(number):
            splits = {part.get("split"): part.get("path") for part in config.get("data_files") or []}
            return [str(path) for path in _as_list(splits.get("labeled"))]
    return []


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def pull(folder: Path, *, skip_bad: Path | None = None) -> Taken:
    """Take the labels that others pushed to the `labeled` splits of rounds that are not finished on the Hub.

    Rows are checked by id and round as in an import: all of a round are taken, or none. What comes for a round that
    this run has finished already is a correction: the next round trains on it.

    Raises:
        HfalError: the repo has another round under a number, a row is wrong, or nobody has labelled.
    """
    run = open_run(folder)
    link = _link(folder)
    if link is None:
        raise HfalError(_NOT_THERE.format(folder=folder))
    repo = Repo(link["repo"])
    state = repo.state()
    new, known, refused = 0, 0, list[Refused]()
    found = False
    for number in run.ledger.chosen():
        theirs = state.rounds.get(str(number))
        if theirs is None or (theirs["labels"] is not None and theirs["labels"] == labels_digest(run, number)):
            continue
        if theirs["selection"] != selection_digest(run, number):
            raise HfalError(f"{repo.name} has another round {number} than {folder}: its labels are not taken")
        rows = _labeled_split(repo, number, state)
        if rows is None:
            continue
        found = True
        where, records = f"{repo.name}, round {number}", _records(rows, number)
        taken = take(folder, where, records, source="hub", annotator="hub", skip_bad=skip_bad, number=number)
        new, known, refused = new + taken.new, known + taken.known, refused + taken.refused
    if not found:
        raise HfalError(f"{repo.name}: nobody has pushed labels that {folder} lacks")
    return Taken(new, known, refused)


def _records(rows: Dataset, number: int) -> Iterator[Record]:
    """Rows of the split as records; of a row with several people's answers, each."""
    feature = rows.features.get("label")
    for line, row in enumerate(rows, 1):
        shown = json.dumps({key: row[key] for key in ("id", "label", "annotator") if key in row}, default=str)
        if row.get("round") not in (None, number):
            problem = RowError("round", f"{row['round']!r} is not round {number}")
            yield Record(line, {}, shown, problem=problem)
            continue
        said: list[dict[str, Any]] = [row]
        if row.get("answers"):
            said = [{**answer, "id": row["id"], "label": _from_json(answer["label"])} for answer in row["answers"]]
        else:
            said = [{**row, "label": _names(feature, row.get("label"))}]
        for fields in said:
            time: Any = fields.get("time")
            yield Record(line, {**fields, "time": time.isoformat() if hasattr(time, "isoformat") else time}, shown)


def _from_json(text: Any) -> Any:
    return json.loads(text) if isinstance(text, str) else None


def _names(feature: Any, label: Any) -> Any:
    """Class indices as the names that the repo gives them; what has names already stays."""
    inner = getattr(feature, "feature", feature)
    if label is None or not hasattr(inner, "int2str"):
        return label
    return [inner.int2str(one) for one in label] if isinstance(label, list) else inner.int2str(label)


def clone(name: str, folder: Path, changes: Iterable[str] = ()) -> RunView:
    """A run folder from a repo, to go on with it on this machine.

    Args:
        name: OWNER/NAME.
        folder: a new folder.
        changes: to the config, `key=value`: where pool, test rows and model are on this machine.

    Raises:
        HfalError: the folder is taken, or the repo was not pushed by hfal.
    """
    if folder.exists() and any(folder.iterdir()):
        raise HfalError(f"{folder} exists and is not empty: clone into a new folder")
    repo = Repo(name)
    state = repo.state()
    if not state.provenance:
        raise HfalError(f"{name} was not pushed by hfal: it has no {PROVENANCE}")
    beside = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    for path in sorted(file for file in state.files if file.startswith(f"{MIRROR}/")):
        target = beside / check_name(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(repo.read(path, state.head), target)
    config = yaml.safe_load((beside / "config.yaml").read_text(encoding="utf-8"))
    config["output_dir"] = str(folder)
    for change in changes:
        apply_change(config, change)
    check_config(config, f"{name}: config.yaml")
    write_yaml(beside / "config.yaml", config)
    write_json(beside / LINK, {"repo": name, "licence": state.provenance.get("licence")})
    if folder.exists():
        folder.rmdir()
    beside.rename(folder)
    return open_run(folder)
