import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from hfal import ActiveLearner, FrozenHead, HfalError, Pool, Simulated, TextClassification
from hfal.signals import Needs, Signals
from hfal.strategies import Context, make
from hfal.strategies.open_set import likely_aside
from tests.conftest import make_rows


def signals(rows, start=0):
    return Signals(rows=np.arange(start, start + len(rows)), embeddings=rows, logits=torch.zeros(len(rows), 2))


@pytest.fixture
def clouds(generator):
    """Rows around two places: those of no class are around the second."""
    good = torch.randn(40, 6, generator=generator) * 0.2 + torch.eye(6)[0]
    none = torch.randn(40, 6, generator=generator) * 0.2 + torch.eye(6)[1]
    return good, none


def context_of(pool, known, aside, generator):
    return Context(
        pool=signals(pool),
        labeled=signals(known),
        labels=[0] * len(known),
        num_classes=2,
        round=1,
        generator=generator,
        aside=signals(aside),
    )


def test_doubt_is_scikit_learns_balanced_logistic_regression(clouds):
    good, none = clouds
    found = likely_aside(torch.cat((good, none)), good[:9], none[:4])
    unit = torch.nn.functional.normalize
    model = LogisticRegression(C=10.0, class_weight="balanced", tol=1e-8)
    model.fit(unit(torch.cat((good[:9], none[:4])).double()).numpy(), [0] * 9 + [1] * 4)
    wanted = model.predict_proba(unit(torch.cat((good, none)).double()).numpy())[:, 1]
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_rows_like_those_of_no_class_are_passed_by(clouds, generator):
    good, none = clouds
    pool = torch.cat((good[10:], none[10:]))
    context = context_of(pool, good[:10], none[:10], generator)
    chosen = make("passing_by(then=kmeans)").select(context, 8)
    assert set(chosen.rows) <= set(range(30)), "of the place that has classes"
    few = context_of(pool, good[:10], none[:2], generator)
    assert (make("passing_by(then=random)").select(few, 30).rows >= 30).any(), "two rows say nothing yet"


def test_where_all_look_like_no_class_there_is_something_to_choose_from(clouds, generator):
    good, none = clouds
    context = context_of(none[10:], good[:10], none[:10], generator)
    assert len(make("passing_by(then=random)").select(context, 5)) == 5
    assert len(make("passing_by(then=random)").select(context, 30)) == 30


def test_in_the_loop_flagged_rows_are_asked_once_cost_and_are_told(tiny_model, tmp_path):
    rows = make_rows(90)
    names = [None if label == 2 else ["bad", "fine"][label] for label in rows["label"]]
    data = rows.remove_columns("label").add_column("label", names)
    task = TextClassification(label_names=["bad", "fine"])

    def active(folder, oracle):
        pool = Pool.from_dataset(data, task)
        strategy = "passing_by(then=margin)"
        return ActiveLearner(
            pool, FrozenHead(tiny_model), strategy, oracle, budget=45, batch_size=15, start="random", output_dir=folder
        )

    with pytest.raises(HfalError, match="has no label to simulate with"):
        active(None, Simulated())
    learner = active(tmp_path, Simulated(open_set=True))
    rounds = learner.run()
    flagged = [label for label in np.array(rows["label"]) if label == 2]
    assert rounds[-1].spent == 45
    assert rounds[-1].labeled < 45
    assert learner.purity == pytest.approx(rounds[-1].labeled / 45)
    assert len(flagged) > 45 - rounds[-1].labeled
    assert "got no label and will not be asked again" in rounds[0].notes[0]
    again = active(tmp_path, Simulated(open_set=True))
    assert again.purity == learner.purity, "what is on disk is the truth"


def test_needs_name_the_rows_set_aside():
    needs = make("passing_by(then=margin)").needs
    assert needs.for_aside() == Needs(pool=frozenset({"embeddings"}), units=needs.units)
    assert make("margin").needs.aside == frozenset()
