from collections import Counter

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, Value

from hfal import HfalError, Pool, VisualQuestionAnswering
from hfal.pool import content_keys, labelled
from tests.pictures import drawn, make_questions

NAMES = ["blue", "no", "red", "yes"]
TASK = VisualQuestionAnswering(label_names=NAMES)
VOTES = VisualQuestionAnswering(label_names=NAMES, votes=True)


def test_answers_in_every_form_that_data_have():
    assert TASK.encode("red", "row 0") == ["red"]
    assert TASK.encode(["yes", "red", "yes"], "row 0") == ["red", "yes"]
    assert TASK.encode(2, "row 0") == ["red"]
    assert VOTES.encode(["yes"] * 7 + ["no"] * 2 + ["blue"], "row 0") == ["blue", "no", "no", "yes", "yes", "yes"]
    assert VOTES.encode({"yes": 7, "no": None, "red": 1}, "row 0") == ["red", "yes", "yes", "yes"]
    assert VOTES.encode([{"answer": "yes", "count": 2}], "row 0") == ["yes", "yes"]
    assert VisualQuestionAnswering(label_names=NAMES, separator=",").encode("red, blue", "row 0") == ["blue", "red"]


def test_vqa_accuracy_is_a_third_for_each_person_who_gave_the_answer():
    logits = torch.eye(4)[[1, 1, 3, 0]]  # no, no, yes, blue
    people = [["no"] * 10, ["no"] + ["yes"] * 9, ["yes", "yes", "no"], ["red"] * 3]
    labels = [VOTES.encode(answers, "row") for answers in people]
    assert VOTES.tally(logits, labels)[:, 0] == pytest.approx([1, 1 / 3, 2 / 3, 0])
    found = VOTES.metrics(logits, labels)
    assert found["vqa_accuracy"] == pytest.approx(0.5)
    assert found["exact_match"] == 0.5  # the first and the third
    assert VOTES.targets(labels)[1] == pytest.approx(torch.tensor([0, 1 / 3, 0, 1]))


def test_the_loss_is_towards_the_shares_of_the_right_answers():
    torch.manual_seed(0)
    logits = torch.randn(3, 4)
    targets = TASK.targets([["red"], ["no", "yes"], ["unheard of"]])
    expected = [
        torch.nn.functional.cross_entropy(logits[0], torch.tensor(2)),
        torch.nn.functional.cross_entropy(logits[1], torch.tensor([0, 0.5, 0, 0.5])),
        torch.tensor(0.0),
    ]
    torch.testing.assert_close(TASK.loss(logits, targets, None, 0.0), torch.stack(expected))


def test_an_answer_that_is_not_known_is_kept_and_never_right():
    label = TASK.encode("a new one", "row 0")
    assert TASK.decode(label) == ["a new one"] and TASK.class_of(label) is None
    assert TASK.metrics(torch.eye(4)[:1], [label])["vqa_accuracy"] == 0


def test_the_most_frequent_answers_are_learned():
    rows = make_questions(60)
    assert VisualQuestionAnswering().resolve(rows).names == ("blue", "green", "no", "red", "yes")
    often = [name for name, _ in Counter(sorted(rows["answers"])).most_common(2)]
    assert set(VisualQuestionAnswering(top_answers=2).resolve(rows).names) == set(often)


@pytest.mark.parametrize(
    ("task", "label", "message"),
    [
        (TASK, None, "row 3 is neither a text"),
        (TASK, {"yes": 1}, "row 3 counts its answers: say votes: true"),
        (VOTES, {"yes": -1}, "its count not a whole number"),
        (VOTES, [1], "is not a text"),
        (TASK, [], "row 3 has no answer"),
        (TASK, "  ", "row 3 has no answer"),
        (TASK, 4, "answer 4 in row 3 is not one of"),
        (TASK, "re\ud800d", "row 3 holds half a character at place 2"),
    ],
)
def test_other_answers_are_refused_with_their_row(task, label, message):
    with pytest.raises(HfalError, match=message):
        task.encode(label, "row 3")


def test_the_same_picture_and_question_are_one_wherever_they_lie(tmp_path):
    (tmp_path / "a.png").write_bytes(drawn("red"))
    (tmp_path / "b.png").write_bytes(drawn("red"))
    (tmp_path / "c.png").write_bytes(drawn("blue"))
    features = Features({"image": Image(decode=False), "question": Value("string")})
    pictures = [
        {"bytes": None, "path": str(tmp_path / "a.png")},
        {"bytes": None, "path": str(tmp_path / "b.png")},
        {"bytes": drawn("red"), "path": None},
        {"bytes": None, "path": str(tmp_path / "c.png")},
    ]
    rows = Dataset.from_dict({"image": pictures, "question": ["q"] * 4}, features=features)
    keys = content_keys(rows, TASK)
    assert keys[0] == keys[1] == keys[2] != keys[3]


@pytest.mark.parametrize("form", ["paths", "pictures", "as kept"])
def test_pictures_in_every_form_that_data_have(form, tmp_path):
    rows = make_questions(4)
    if form == "paths":
        for at, picture in enumerate(rows["image"]):
            (tmp_path / f"{at}.png").write_bytes(picture["bytes"])
        paths = [str(tmp_path / f"{at}.png") for at in range(4)]
        rows = Dataset.from_dict({"image": paths, "question": rows["question"], "answers": rows["answers"]})
    elif form == "pictures":
        rows = rows.cast_column("image", Image())
    else:
        rows = Dataset.from_dict({name: list(rows[name]) for name in rows.column_names})
    pool = Pool.from_dataset(rows, TASK)
    assert pool.ids(range(4)) == Pool.from_dataset(make_questions(4), TASK).ids(range(4))
    assert not pool.dataset.features["image"].decode


def test_rows_without_a_picture_or_a_question_are_set_aside_and_counted(caplog, tmp_path):
    rows = make_questions(6)
    pictures = list(rows["image"])
    pictures[1] = {"bytes": pictures[1]["bytes"][:60], "path": "/somewhere/half.png"}
    pictures[2] = {"bytes": None, "path": str(tmp_path / "gone.png")}
    pictures[3] = None
    questions = list(rows["question"])
    questions[4] = " "
    broken = Dataset.from_dict(
        {"image": pictures, "question": questions, "answers": ["yes"] * 6}, features=rows.features
    )
    assert len(Pool.from_dataset(broken, TASK)) == 2
    assert "pool: 4 rows left out" in caplog.text
    assert "row 1: column 'image' holds a picture half.png that cannot be decoded" in caplog.text
    assert len(labelled(broken, TASK)) == 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"image": [1], "question": ["q"]}, "must hold pictures or their paths"),
        ({"image": ["a.png"], "question": [3]}, "must hold text"),
        ({"image": ["a.png"]}, "no column 'question'"),
    ],
)
def test_other_columns_are_refused(rows, message):
    with pytest.raises(HfalError, match=message):
        Pool.from_dataset(Dataset.from_dict(rows), TASK)


def test_labels_are_told_apart_by_people_as_wholes():
    from hfal.agreement import resolved

    labels = {"row": {"Ann": ["yes"], "Ben": ["yes"], "Cy": ["no", "red"]}}
    assert resolved(labels, TASK) == {"row": ["yes"]}
    assert np.isscalar(VOTES.targets([["yes"]])[0, 3].item())
