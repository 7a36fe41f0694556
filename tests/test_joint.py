"""One round for entities and relations of the same sentences."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from scipy.stats import rankdata

from hfal import ActiveLearner, FrozenHead, HfalError, Joint, Pool, Relations, TokenClassification
from hfal.joint import ranks
from tests.learners.test_pairs import make_relations

TAGS = TokenClassification(label_names=["O", "B-thing", "I-thing"], scheme="BIO")
RELATIONS = Relations(label_names=["Other", "Good", "Bad"])


def both(size, twice=0):
    """Sentences with their tags, and their relations: one each, the first `twice` sentences have two."""
    marked = make_relations(size)
    tokens, tags = [], []
    for text in marked["text"]:
        words, labels = [], []
        for word in text.split():
            entity = "<" in word
            words.append(word.replace("<e1>", "").replace("</e1>", "").replace("<e2>", "").replace("</e2>", ""))
            labels.append("B-thing" if entity else "O")
        tokens.append(words)
        tags.append(labels)
    names = [f"s{n}" for n in range(size)]
    sentences = Dataset.from_dict({"sid": names, "tokens": tokens, "ner_tags": tags})
    texts = [*marked["text"], *(text + " so" for text in marked["text"][:twice])]
    labels = [*marked["labels"], *marked["labels"][:twice]]
    relations = Dataset.from_dict({"text": texts, "label": labels, "sentence": [*names, *names[:twice]]})
    return sentences, relations


def loops(model, folder, size=60, twice=0, budget=20, strategies=("mnlp", "margin")):
    sentences, relations = both(size, twice)
    first = ActiveLearner(
        Pool.from_dataset(sentences, TAGS, "sid"),
        FrozenHead(model),
        strategies[0],
        budget=budget,
        batch_size=5,
        start="random",
        output_dir=folder / "entities",
    )
    second = ActiveLearner(
        Pool.from_dataset(relations, RELATIONS),
        FrozenHead(model, layers=2),
        strategies[1],
        budget=100,
        batch_size=5,
        output_dir=folder / "relations",
    )
    return first, second


def asked(loop, number):
    return loop.ledger.selection(number)["id"].to_pylist()


def test_each_round_asks_both_kinds_of_the_same_sentences(tiny_model, tmp_path):
    first, second = loops(tiny_model, tmp_path, twice=30)
    rounds = Joint(first, second).run()
    assert [a.labeled for a, _ in rounds] == [5, 10, 15, 20]
    sentence_of = dict(zip(second.pool.ids(np.arange(len(second.pool))), second.pool.dataset["sentence"], strict=True))
    for number in range(4):
        ours, theirs = asked(first, number), asked(second, number)
        assert {sentence_of[row] for row in theirs} == set(ours)
        assert len(theirs) >= len(ours)
    assert first.ledger.selection(1)["strategy"][0].as_py() == "joint"


def test_sentences_are_wanted_by_the_sum_of_their_ranks(tiny_model, tmp_path):
    first, second = loops(tiny_model, tmp_path, budget=5)
    Joint(first, second).run()
    rows, mine = first.scores(1)
    others, theirs = second.scores(1)
    names = first.pool.ids(rows)
    by_name = {second.pool.dataset["sentence"][int(p)]: float(s) for p, s in zip(others, theirs, strict=True)}
    both_scores = rankdata(mine.numpy()) + rankdata([by_name[name] for name in names])
    again, other = loops(tiny_model, tmp_path, budget=10)
    Joint(again, other).run()
    chosen = asked(again, 1)
    worst = min(both_scores[names.index(name)] for name in chosen)
    assert all(both_scores[at] <= worst + 1e-6 for at, name in enumerate(names) if name not in chosen)


def test_only_one_kind_counts_at_either_end_of_the_weight(tiny_model, tmp_path):
    for weight, which in ((0.0, 0), (1.0, 1)):
        first, second = loops(tiny_model, tmp_path / str(which), budget=10)
        Joint(first, second, weight=weight).run()
        loop = (first, second)[which]
        alone = loops(tiny_model, tmp_path / f"{which}-alone", budget=5)
        Joint(*alone).run()
        rows, scores = alone[which].scores(1)
        best = set(rows[torch.topk(scores, 5).indices.numpy()].tolist())
        assert len(best & set(loop.pool.positions(asked(loop, 1)).tolist())) >= 4  # ties may go either way


@pytest.mark.parametrize("lost", ["second", "both", "labels"])
def test_a_run_that_ends_anywhere_goes_on_with_the_same_picks(lost, tiny_model, tmp_path):
    Joint(*loops(tiny_model, tmp_path)).run()
    before = [asked(loop, 2) for loop in loops(tiny_model, tmp_path)]
    for part in ("entities", "relations"):
        folder = tmp_path / part / "rounds" / "0002"
        gone = {"second": ["round.json"], "both": ["round.json"], "labels": ["round.json", "labels.parquet"]}[lost]
        if lost == "both" or (lost == "second" and part == "relations"):
            gone = [*gone, "selection.parquet", "labels.parquet"]
        for name in gone:
            (folder / name).unlink(missing_ok=True)
        for later in (tmp_path / part / "rounds").glob("0003/*"):
            later.unlink()
    again = loops(tiny_model, tmp_path)
    rounds = Joint(*again).run()
    assert len(rounds) == 4
    assert [asked(loop, 2) for loop in again] == before


def test_ranks_share_ties():
    assert ranks(torch.tensor([3.0, 1.0, 3.0, 2.0])).tolist() == pytest.approx([2.5 / 3, 0, 2.5 / 3, 1 / 3])
    assert ranks(torch.tensor([1.0])).tolist() == [1.0]


def test_what_does_not_fit_together_is_told(tiny_model, tmp_path):
    first, second = loops(tiny_model, tmp_path, strategies=("mnlp", "badge"))
    with pytest.raises(HfalError, match="badge gives rows no scores of their own"):
        Joint(first, second).run()
    first, second = loops(tiny_model, tmp_path / "b")
    with pytest.raises(HfalError, match="no column 'sid'"):
        Joint(first, second, column="sid")
    smaller, _ = loops(tiny_model, tmp_path / "c", size=30)
    with pytest.raises(HfalError, match="row 30 of the second loop names sentence 's30'"):
        Joint(smaller, second)


def test_it_ends_where_all_sentences_are_labelled(tiny_model, tmp_path):
    rounds = Joint(*loops(tiny_model, tmp_path, size=12, budget=50)).run()
    assert [pair[0].labeled for pair in rounds] == [5, 10, 12]
