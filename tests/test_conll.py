import pytest

from hfal import HfalError
from hfal.config import Source
from hfal.conll import read_conll
from hfal.data import load_source
from hfal.demo import demo_dataset

FORMS = {
    "tabs": "Ann\tB-per\nsings\tO\n\nRome\tB-loc\n",
    "no final newline": "Ann B-per\nsings O\n\nRome B-loc",
    "crlf": "Ann\tB-per\r\nsings\tO\r\n\r\nRome\tB-loc\r\n",
    "four columns": "-DOCSTART- -X- -X- O\n\nAnn NNP B-NP B-per\nsings VBZ B-VP O\n\nRome NNP B-NP B-loc\n\n",
    "blank lines of blanks": "\n\nAnn\tB-per\nsings\tO\n \t\n\n  \nRome\tB-loc\n\n\n",
    "a mark of order": "\ufeffAnn\tB-per\nsings\tO\n\nRome\tB-loc\n",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["x.conll", "x.txt"])
def test_forms_of_conll_files_read_alike(tmp_path, form, name):
    path = tmp_path / name
    path.write_bytes(FORMS[form].encode())
    source = Source(source=str(path), format=None if name == "x.conll" else "conll")
    rows = load_source(source)
    assert rows["tokens"][:] == [["Ann", "sings"], ["Rome"]]
    assert rows["ner_tags"][:] == [["B-per", "O"], ["B-loc"]]


def test_a_word_may_hold_blanks_or_a_hash_and_quotes(tmp_path):
    path = tmp_path / "x.conll"
    path.write_text('New York\tB-loc\n#\tO\n"\tO\n')
    assert read_conll([path])["tokens"][:] == [["New York", "#", '"']]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Ann\n", "x.conll, line 1: expected a word and its tag, got 'Ann'"),
        ("Ann\tO\nBob\t\n", "line 2: expected a word and its tag"),
        ("Ann NNP O\nBob O\n", "line 2: 2 columns, but 3 in the lines before: 'Bob O'"),
        ("", "is empty"),
        ("\n\n", "has no rows"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, text, problem):
    path = tmp_path / "x.conll"
    path.write_text(text)
    with pytest.raises(HfalError, match=problem):
        load_source(Source(source=str(path)))


def test_several_files_and_encodings(tmp_path):
    (tmp_path / "train-a.conll").write_bytes("é\tO\n".encode("latin-1"))
    (tmp_path / "train-b.conll").write_bytes("b\tO\n".encode("latin-1"))
    rows = load_source(Source(source=str(tmp_path), encoding="latin-1"))
    assert rows["tokens"][:] == [["é"], ["b"]]
    with pytest.raises(HfalError, match="is not utf-8 text"):
        load_source(Source(source=str(tmp_path)))


def test_the_demo_entities_are_read():
    rows = demo_dataset("demo/ner")
    assert len(rows) == 2394
    assert rows[1]["tokens"][:3] == ["From", "Green", "Newsfeed"]
    assert all(len(row["tokens"]) == len(row["ner_tags"]) for row in rows)
    tags = {tag for row in rows["ner_tags"] for tag in row}
    assert len(tags) == 21 and "B-geo-loc" in tags
