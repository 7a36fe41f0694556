"""Rounds as files, out and back: what is right comes back whole, what is wrong is refused and named."""

import csv
import io
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hfal.answers import Answers
from hfal.errors import HfalError
from hfal.labeling import open_work
from hfal.labeling.exporting import export_round
from hfal.labeling.importing import import_file
from tests.conftest import NAMES, TAGS
from tests.labeling.conftest import rows_of, text_of, truth_of


def answers_of(folder):
    return Answers(open_work(folder).run.ledger.path(0)).current()


def write(folder, name, content):
    path = folder.parent / name
    path.write_text(content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content))
    return path


def refuse(folder, path, *parts, **options):
    """It is refused, in words that hold these parts, and nothing was taken."""
    with pytest.raises(HfalError) as caught:
        import_file(folder, path, **options)
    for part in parts:
        assert part in str(caught.value)
    assert answers_of(folder) == {}


@pytest.mark.parametrize("kind", ["text", "multi", "words"])
@pytest.mark.parametrize("to", ["jsonl", "csv", "conll"])
def test_what_is_exported_and_labelled_comes_back(waiting, kind, to):
    if to == "conll" and kind != "words":
        pytest.skip("CoNLL holds words")
    folder, truth = waiting(kind), truth_of(kind)
    path = folder.parent / f"round.{to}"
    count, _ = export_round(open_work(folder), to, path)
    labels = {row["id"]: truth[text_of(row)] for row in rows_of(folder)}
    assert count == len(labels) == 12
    if to == "jsonl":
        rows = [json.loads(line) | {} for line in path.read_text().splitlines()]
        path = write(folder, "done.jsonl", [row | {"label": labels[row["id"]], "annotator": "ann"} for row in rows])
    elif to == "csv":
        rows = list(csv.DictReader(io.StringIO(path.read_text(), newline="")))
        out = io.StringIO()
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        for row in rows:
            label = labels[row["id"]]
            writer.writerow(
                row | {"label": json.dumps(label) if isinstance(label, list) else label, "annotator": "ann"}
            )
        path = write(folder, "done.csv", out.getvalue())
    else:
        blocks = path.read_text().split("\n\n")
        tagged = []
        for block in blocks:
            head, *lines = block.strip().splitlines()
            tags = labels[head.removeprefix("# id = ")]
            tagged.append("\n".join([head, *(line[:-1] + tag for line, tag in zip(lines, tags, strict=True))]))
        path = write(folder, "done.conll", "\n\n".join(tagged))
    taken = import_file(folder, path, annotator="ann")
    assert (taken.new, taken.known, taken.refused) == (12, 0, [])
    found = {row: people["ann"].label for row, people in answers_of(folder).items()}
    if kind == "multi":
        found, labels = ({row: sorted(set(said)) for row, said in values.items()} for values in (found, labels))
    assert found == labels
    assert import_file(folder, path, annotator="ann").known == 12


def test_rows_left_empty_are_left_alone(waiting):
    folder = waiting()
    path = folder.parent / "round.jsonl"
    export_round(open_work(folder), "jsonl", path)
    assert import_file(folder, path).new == 0
    words = waiting("words")
    path = words.parent / "round.conll"
    export_round(open_work(words), "conll", path)
    assert import_file(words, path).new == 0


def test_only_rows_without_an_answer_are_exported(waiting):
    folder = waiting()
    first = rows_of(folder)[0]["id"]
    import_file(folder, write(folder, "a.jsonl", [{"id": first, "label": "good"}]))
    path = folder.parent / "round.jsonl"
    assert export_round(open_work(folder), "jsonl", path)[0] == 11
    assert export_round(open_work(folder), "jsonl", path, everything=True)[0] == 12


def test_suggestions_are_shown_but_not_of_audited_rows_nor_where_they_are_off(waiting):
    folder = waiting()
    import_file(folder, write(folder, "a.jsonl", [{"id": row["id"], "label": "good"} for row in rows_of(folder)]))
    work = open_work(folder)
    row = next(row for row in work.rows.values() if not row["audit"])
    assert work.suggestion(row | {"predicted": "fine"}) == "fine"
    assert work.suggestion(row | {"predicted": "fine", "audit": True}) is None
    hidden = waiting("multi", suggest=False)
    assert open_work(hidden).suggestion(row | {"predicted": "fine"}) is None


def test_formulas_are_defused_in_csv(waiting):
    folder = waiting()
    work = open_work(folder)
    for row, text in zip(work.rows.values(), ["=cmd()", "+1", "-1", "@x", "\tx"], strict=False):
        row["text"] = text
    path = folder.parent / "round.csv"
    export_round(work, "csv", path)
    with open(path, newline="") as handle:
        cells = [row["text"] for row in csv.DictReader(handle)][:5]
    assert cells == ["'=cmd()", "'+1", "'-1", "'@x", "'\tx"]


def test_conll_is_for_words(waiting):
    work = open_work(waiting())
    with pytest.raises(HfalError, match="this task labels whole rows"):
        export_round(work, "conll", work.run.folder / "x")
    with pytest.raises(HfalError, match="--to excel: known are label_studio, conll, jsonl"):
        export_round(work, "excel", work.run.folder / "x")


BAD_JSONL = [
    ("{", "is not JSON"),
    ("[1]", "is not an object"),
    ("3", "is not an object"),
    ('{"label": "good"}', "column id: is missing"),
    ('{"id": "", "label": "good"}', "column id: is missing"),
    ('{"id": null, "label": "good"}', "column id: is missing"),
    ('{"id": ["x"], "label": "good"}', "column id: is missing"),
    ('{"id": "nowhere", "label": "good"}', "column id: 'nowhere' was not asked in this run"),
    ('{"id": "ID", "label": "goood"}', "column label"),
    ('{"id": "ID", "label": 7}', "column label"),
    ('{"id": "ID", "label": ["good"]}', "column label"),
    ('{"id": "ID", "label": {"a": 1}}', "column label"),
    ('{"id": "ID", "label": true}', "column label"),
    ('{"id": "ID", "label": 1e400}', "column label"),
    ('{"id": "ID", "label": "good", "annotator": "a\\nb"}', "column annotator"),
    ('{"id": "ID", "label": "good", "annotator": 5}', "column annotator"),
    ('{"id": "ID", "label": "good", "seconds": "soon"}', "column seconds"),
    ('{"id": "ID", "label": "good", "seconds": -1}', "column seconds"),
    ('{"id": "ID", "label": "good", "seconds": NaN}', "column seconds"),
    ('{"id": "ID", "label": "good", "time": "yesterday"}', "column time"),
    ('{"id": "ID", "label": "good", "skipped": "perhaps"}', "column skipped"),
    ('{"id": "ID", "label": "good"}\n{"id": "ID", "label": "bad"}', "was labelled 'good'"),
    ("[" * 100_000, "is not JSON"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_JSONL)
def test_a_bad_line_is_refused_with_its_number(waiting, line, reason):
    folder = waiting()
    good, bad = (row["id"] for row in rows_of(folder)[:2])
    text = json.dumps({"id": good, "label": "good"}) + "\n\n" + line.replace("ID", bad) + "\n"
    path = write(folder, "bad.jsonl", text)
    number = 4 if "\n" in line else 3
    refuse(folder, path, f"bad.jsonl, line {number}", reason, "Nothing was taken")


def test_skip_bad_takes_what_is_right_and_says_what_was_not(waiting):
    folder = waiting()
    first, second, third = (row["id"] for row in rows_of(folder)[:3])
    path = write(
        folder,
        "mixed.jsonl",
        [{"id": first, "label": "good"}, {"id": second, "label": "wrong"}, {"id": third, "label": "bad"}],
    )
    taken = import_file(folder, path, skip_bad=folder.parent / "refused.jsonl")
    assert (taken.new, len(taken.refused)) == (2, 1)
    (line,) = (folder.parent / "refused.jsonl").read_text().splitlines()
    refused = json.loads(line)
    assert (refused["file"], refused["line"], refused["column"]) == ("mixed.jsonl", 2, "label")
    assert "wrong" in refused["reason"] and second in refused["content"]
    assert set(answers_of(folder)) == {first, third}


def test_bad_files_are_named(waiting):
    folder = waiting()
    refuse(folder, folder.parent / "none.jsonl", "cannot read", "none.jsonl")
    refuse(folder, write(folder, "x.txt", "hello"), "say --from jsonl or csv or conll or label_studio")
    refuse(folder, write(folder, "x.csv", "text,label\na,b\n"), "line 1: no column 'id'")
    refuse(folder, write(folder, "x.csv", 'id,label\n"a,b\n'), "x.csv, line 2: 1 cell, but the header has 2")
    latin = folder.parent / "latin.jsonl"
    latin.write_bytes('{"id": "ü"}'.encode("latin-1"))
    refuse(folder, latin, "is not UTF-8")


def test_a_csv_row_is_counted_in_lines_of_the_file(waiting):
    folder = waiting()
    first, second = (row["id"] for row in rows_of(folder)[:2])
    path = write(folder, "x.csv", f'id,text,label\n{first},"two\nlines",good\n{second},x,nope\n')
    refuse(folder, path, "x.csv, line 4", "column label")
    short = write(folder, "y.csv", f"id,text,label\n{first},good\n")
    refuse(folder, short, "y.csv, line 2", "2 cells, but the header has 3")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda lines: [lines[0], *lines[2:]], "other ones from word 0"),
        (lambda lines: lines[:-1], "other ones from word"),
        (lambda lines: [*lines, "more\tO"], "other ones from word"),
        (lambda lines: [lines[0], lines[1].replace("\t", "x\t"), *lines[2:]], "other ones from word 0"),
        (lambda lines: [lines[0], lines[1][:-1] + "B-nowhere", *lines[2:]], "column label"),
        (lambda lines: lines[1:], "column id: is missing"),
    ],
)
def test_a_conll_sentence_must_be_the_one_that_was_asked(waiting, change, reason):
    folder = waiting("words")
    path = folder.parent / "round.conll"
    export_round(open_work(folder), "conll", path)
    block = path.read_text().split("\n\n")[0].strip().replace("?", "O").splitlines()
    refuse(folder, write(folder, "bad.conll", "\n".join(change(block)) + "\n"), "bad.conll, line 1", reason)


def test_tags_that_are_no_legal_sequence_are_refused(waiting):
    folder = waiting("words")
    row = rows_of(folder)[0]
    tags = ["I-good", *["O"] * (len(row["tokens"]) - 1)]
    refuse(folder, write(folder, "x.jsonl", [{"id": row["id"], "label": tags}]), "column label", "I-good")
    refuse(folder, write(folder, "y.jsonl", [{"id": row["id"], "label": ["O"]}]), "column label")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from([*NAMES, *TAGS]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
KEYS = ["id", "label", "annotator", "seconds", "time", "skipped", "flagged", "spans"]


@pytest.fixture(scope="module")
def folders(made, tmp_path_factory):
    import shutil

    found = {}
    for kind in ("text", "words", "multi"):
        found[kind] = tmp_path_factory.mktemp("hostile") / kind
        shutil.copytree(made(kind) / "run", found[kind])
    return found


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.sampled_from(["text", "words", "multi"]))
def test_whatever_a_line_holds_it_is_taken_or_refused(folders, data, kind):
    """Hostile rows: never another exception, never a label that the task does not have."""
    folder = folders[kind]
    ids = [row["id"] for row in rows_of(folder)]
    rows = data.draw(st.lists(st.dictionaries(st.sampled_from(KEYS), JSON), min_size=1, max_size=3))
    for row in rows:
        if data.draw(st.booleans()):
            row["id"] = data.draw(st.sampled_from(ids))
    path = write(folder, f"{kind}.jsonl", rows)
    taken = import_file(folder, path, skip_bad=folder.parent / "refused.jsonl")
    assert all(one.line and one.column and one.reason for one in taken.refused)
    work = open_work(folder)
    for row, people in answers_of(folder).items():
        for answer in people.values():
            assert answer.skipped or work.check(answer.label, work.rows[row], "here") == answer.label


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(content=st.binary(max_size=200), kind=st.sampled_from(["jsonl", "csv", "conll", "label_studio"]))
def test_no_bytes_break_a_reader(folders, content, kind):
    folder = folders["words"]
    path = folder.parent / "bytes"
    path.write_bytes(content)
    try:
        import_file(folder, path, kind=kind, skip_bad=folder.parent / "refused.jsonl")
    except HfalError as error:
        assert str(path) in str(error)
