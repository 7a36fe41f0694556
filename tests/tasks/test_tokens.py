import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import classification_report

from hfal import HfalError, Pool, TokenClassification
from hfal.functional import Ragged
from hfal.pool import labelled
from hfal.tasks.schemes import tags_for
from tests.conftest import TAGS

NAMES = ["O", "B-x", "I-x", "B-y", "I-y"]
TASK = TokenClassification(label_names=NAMES, scheme="BIO")


def certain(rows, size=5):
    """Logits that leave no doubt about these tags."""
    return Ragged.of([torch.nn.functional.one_hot(torch.tensor(row), size).float() * 20 for row in rows])


def test_tags_are_names_indices_or_class_labels(tagged):
    assert TASK.encode(["O", "B-x", 2], "row 0") == [0, 1, 2]
    resolved = TokenClassification().resolve(tagged)
    assert (resolved.names, resolved.scheme, resolved.classes) == (tuple(TAGS), "BIO", ("bad", "good"))
    texts = Dataset.from_dict({"tokens": [["a", "b"]], "ner_tags": [["B-x", "O"]]})
    assert TokenClassification().resolve(texts).names == ("O", "B-x", "I-x")  # I-x may come
    numbers = Dataset.from_dict({"tokens": [["a", "b"]], "ner_tags": [[3, 5]]})
    assert TokenClassification().resolve(numbers).names == ("3", "5")
    assert TokenClassification().resolve(numbers).scheme == "none"
    with pytest.raises(HfalError, match="holds lists of int64"):
        TokenClassification(tokens="ner_tags").resolve(numbers)
    with pytest.raises(HfalError, match="no column 'token' .did you mean 'tokens'"):
        TokenClassification(tokens="token").resolve(numbers)


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        (["O", "B-z", "O"], r"tag 'B-z' of word 1, 'goes', in row 3 is not one of O, B-x.*did you mean"),
        (["O", "O"], "row 3 has 3 words but 2 tags .she goes home."),
        (["O", "I-x", "O"], "tag 'I-x' of word 1, 'goes', in row 3 may not stand after O in scheme BIO"),
        (["I-x", "O", "O"], "may not stand at the start in scheme BIO; illegal: repair"),
        (["B-x", "I-y", "O"], "tag 'I-y' of word 1, 'goes', in row 3 may not stand after B-x"),
        (["O", 9, "O"], "tag 9 of word 1"),
        ("O", "label 'O' in row 3 is not a list of tags"),
        (None, "is not a list of tags"),
    ],
)
def test_a_wrong_tag_is_named_with_row_and_word(label, problem):
    with pytest.raises(HfalError, match=problem):
        TASK.encode(label, "row 3", {"tokens": ["she", "goes", "home"]})


def test_illegal_tags_are_repaired_where_asked():
    task = TokenClassification(label_names=NAMES, scheme="BIO", illegal="repair")
    assert task.decode(task.encode(["I-x", "I-x", "I-y", "O", "I-y"], "row 0")) == ["B-x", "I-x", "B-y", "O", "B-y"]
    names = tags_for(["x"], "IOBES")
    task = TokenClassification(label_names=names, scheme="IOBES", illegal="repair")
    assert task.decode(task.encode(["B-x", "O", "I-x", "I-x"], "row 0")) == ["S-x", "O", "B-x", "E-x"]
    strict = TokenClassification(label_names=names, scheme="IOBES")
    with pytest.raises(HfalError, match="tag 'B-x' of word 1 in row 0 may not stand at the end"):
        strict.encode(["O", "B-x"], "row 0")


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.sampled_from(["BIO", "IOB1", "IOBES"]))
def test_a_label_is_refused_where_decoding_would_forbid_it(tags, scheme):
    task = TokenClassification(label_names=tags_for(["x"], scheme), scheme=scheme)
    tags = [tag % len(task.names) for tag in tags]
    illegal = task.rules.violations(Ragged.of([torch.tensor(tags)])).any()
    try:
        assert task.encode(tags, "row 0") == tags
        assert not illegal
    except HfalError:
        assert illegal


def test_raw_text_with_character_spans():
    rows = Dataset.from_dict(
        {
            "text": ["Ann met Bob Ray, in Rome.", "nothing here"],
            "entities": [
                [
                    {"start": 8, "end": 15, "label": "person"},
                    {"start": 0, "end": 3, "label": "person"},
                    {"start": 20, "end": 24, "label": "place"},
                ],
                [],
            ],
        }
    )
    task = TokenClassification(text="text").resolve(rows)
    assert task.names == ("O", "B-person", "I-person", "B-place", "I-place")
    encoded = task.encode(rows[0]["entities"], "row 0", rows[0])
    assert task.decode(encoded) == ["B-person", "O", "B-person", "I-person", "O", "O", "B-place", "O"]
    assert task.encode([], "row 1", rows[1]) == [0, 0]
    assert task.encode(task.decode(encoded), "row 0", rows[0]) == encoded  # as files of a run hold them
    assert task.lengths({"text": ["Ann met Bob Ray, in Rome."]}) == [8]
    with pytest.raises(
        HfalError, match="entity type 'plce' in row 0 is not one of person, place .did you mean 'place'"
    ):
        task.encode([{"start": 0, "end": 3, "label": "plce"}], "row 0", rows[0])
    given = TokenClassification(text="text", label_names=["person"], scheme="IOBES")
    assert given.names == ("O", "B-person", "E-person", "I-person", "S-person")


def test_metrics_are_those_of_seqeval():
    rng = np.random.default_rng(0)
    true = [rng.integers(0, 5, rng.integers(1, 9)).tolist() for _ in range(200)]
    task = TokenClassification(label_names=NAMES, scheme="BIO", illegal="repair", constrained=False)
    true = [task.encode(row, "row") for row in true]
    guess = [[tag if rng.random() < 0.7 else int(rng.integers(5)) for tag in row] for row in true]
    ours = task.metrics(certain(guess), true)
    theirs = classification_report(
        [task.decode(row) for row in true], [task.decode(row) for row in guess], output_dict=True, zero_division=0
    )
    for mine, name in (("f1", "f1-score"), ("precision", "precision"), ("recall", "recall")):
        assert ours[mine] == pytest.approx(theirs["micro avg"][name])
        for kind in ("x", "y"):
            assert ours["per_class"][kind][mine] == pytest.approx(theirs[kind][name])
    assert ours["per_class"]["x"]["support"] == theirs["x"]["support"]


def test_decoding_is_legal_unless_switched_off():
    logits = Ragged.of([torch.tensor([[1.0, 0, 2, 0, 0], [0, 0, 3, 0, 0]])])  # I-x I-x
    assert TASK.predict(logits)[0] == [[1, 2]]
    free = TokenClassification(label_names=NAMES, scheme="BIO", constrained=False)
    assert free.predict(logits)[0] == [[2, 2]]


def test_tags_without_a_scheme_are_scored_by_accuracy_and_macro_f1():
    rows = Dataset.from_dict({"tokens": [["she", "runs"], ["runs"]], "pos": [["PRON", "VERB"], ["NOUN"]]})
    task = TokenClassification(tags="pos").resolve(rows)
    assert (task.scheme, task.names, task.main_metric) == ("none", ("NOUN", "PRON", "VERB"), "macro_f1")
    scores = task.metrics(certain([[1, 2], [2]], 3), [[1, 2], [0]])
    assert scores["accuracy"] == pytest.approx(2 / 3)
    assert scores["macro_f1"] == pytest.approx((0 + 1 + 2 / 3) / 3)
    assert task.mentions([1, 2]) == ["PRON", "VERB"]


def test_rows_of_no_words_stay_out_of_the_pool_and_are_counted(caplog):
    words = [["a"], [], None, ["", " "], ["b", None], ["", "c"]]
    rows = Dataset.from_dict({"tokens": words, "ner_tags": [["O"], [], [], ["O", "O"], ["O", "O"], ["O", "O"]]})
    pool = Pool.from_dataset(rows, TokenClassification(label_names=NAMES))
    assert len(pool) == 2
    assert (
        "pool: 4 rows left out, nothing can be learned from them (the first, row 1: column 'tokens' has no words)"
        in caplog.text
    )
    assert pool.lengths(pool.unlabeled).tolist() == [1, 2]
    assert len(labelled(rows, pool.task)) == 2


def test_labels_are_checked_against_their_words_at_every_door(tagged):
    pool = Pool.from_dataset(tagged, TokenClassification())
    with pytest.raises(HfalError, match=r"row 0 has \d+ words but 1 tags"):
        pool.label({0: ["O"]})
    wrong = Dataset.from_dict({"tokens": [["a", "b"]], "ner_tags": [[0]]}, features=tagged.features)
    with pytest.raises(HfalError, match="row 0 of test has 2 words but 1 tags"):
        labelled(wrong, pool.task)
    with pytest.raises(HfalError, match="row 0 of column 'ner_tags' has 2 words but 1 tags"):
        Pool.from_dataset(wrong, TokenClassification(), seed_labels="ner_tags")


def test_word_lists_that_differ_only_in_their_cuts_are_different_rows():
    rows = Dataset.from_dict({"tokens": [["new york"], ["new", "york"], ["new", "york"]]})
    pool = Pool.from_dataset(rows, TokenClassification(label_names=NAMES))
    assert pool.duplicates == 1


def test_wrong_settings_are_refused():
    for options, problem in [
        ({"illegal": "mend"}, "illegal must be refuse or repair"),
        ({"label_names": ["O"]}, "at least two tags"),
        ({"label_names": ["O", "O"]}, "'O' is given more than once"),
        ({"label_names": "O"}, "must be a list"),
        ({"scheme": "IOB"}, "scheme: 'IOB' is not known"),
        ({"label_names": ["O", "S-x"], "scheme": "BIO"}, "tag 'S-x' is not one of scheme BIO"),
    ]:
        with pytest.raises(HfalError, match=problem):
            TokenClassification(**options)


def test_class_labels_keep_their_order_and_iob1_is_seen_in_their_use():
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=["I-x", "O", "B-x"]))})
    rows = Dataset.from_dict({"tokens": [["a", "b", "c"]], "ner_tags": [[0, 2, 1]]}, features=features)
    task = TokenClassification().resolve(rows)
    assert (task.names, task.scheme, task.outside) == (("I-x", "O", "B-x"), "IOB1", 1)
    assert task.encode([0, 2, 1], "row 0") == [0, 2, 1]
