"""CoNLL files: a word and its tags a line, a blank line between sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from datasets import Dataset, Features, List, Value

from hfal.errors import HfalError

DOCUMENT = "-DOCSTART-"
TOKENS, TAGS = "tokens", "ner_tags"


def read_conll(paths: Sequence[Path], encoding: str = "utf-8") -> Dataset:
    """Word lists and tags of CoNLL files: the first column is the word, the last its tag.

    Columns are divided by tabs, where the line has one, else by blanks; all lines have as many. Blank lines,
    lines of blanks and `-DOCSTART-` end a sentence; CRLF and a missing last blank line do no harm.

    Returns:
        `tokens` and `ner_tags`, lists of text.

    Raises:
        HfalError: a line with fewer than two columns, or with more or fewer than those before; the line is named.
    """
    words: list[list[str]] = []
    tags: list[list[str]] = []
    for path in paths:
        with open(path, encoding=encoding, newline="") as handle:
            for sentence in _sentences(handle, path):
                words.append([word for word, _ in sentence])
                tags.append([tag for _, tag in sentence])
    text = List(Value("string"))
    return Dataset.from_dict({TOKENS: words, TAGS: tags}, features=Features({TOKENS: text, TAGS: text}))


def _sentences(lines: Iterable[str], path: Path) -> Iterator[list[tuple[str, str]]]:
    sentence: list[tuple[str, str]] = []
    columns = 0
    for number, line in enumerate(lines, 1):
        line = line.rstrip("\r\n").removeprefix("\ufeff")
        if not line.strip() or line.startswith(DOCUMENT):
            if sentence:
                yield sentence
            sentence = []
            continue
        parts = line.split("\t") if "\t" in line else line.split()
        if len(parts) < 2 or not parts[-1].strip():
            raise HfalError(f"{path}, line {number}: expected a word and its tag, got {line!r}")
        columns = columns or len(parts)
        if len(parts) != columns:
            raise HfalError(f"{path}, line {number}: {len(parts)} columns, but {columns} in the lines before: {line!r}")
        sentence.append((parts[0], parts[-1].strip()))
    if sentence:
        yield sentence
