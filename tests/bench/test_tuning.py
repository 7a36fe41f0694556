"""Settings are tried with the baseline on rows that nothing else is scored on, and the best are those of all."""

import pytest

from hfal import HfalError
from hfal.bench import cells_of, check_bench, prepare, run_bench
from hfal.bench.cells import _data, _key
from hfal.bench.tuning import BEYOND, _trials
from hfal.config import check_config
from hfal.evaluation import Curve, area_under_curve
from hfal.files import read_json
from tests.bench.test_bench import matrix

TRIED = {"settings": {"frozen": {"C": [0.001, 10.0], "normalize": [True, False]}}, "rows": 30}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, tiny_model):
    folder = tmp_path_factory.mktemp("tuned")
    values = matrix(folder, tiny_model, tune=TRIED, seeds=1, strategies=["random", "margin"])
    return folder / "bench", check_bench(values), run_bench(check_bench(values))


def test_the_best_of_the_baselines_trials_is_what_all_strategies_get(tuned):
    _, config, summary = tuned
    data = prepare(config)
    assert [(one.data, one.learner, len(one.tried)) for one in summary.tuned] == [
        ("one", "frozen", 4),
        ("two", "frozen", 4),
    ]
    for one in summary.tuned:
        for (settings, height), (again, [cell]) in zip(
            one.tried, _trials(config, data, one.data, "frozen"), strict=True
        ):
            assert settings == again and cell.strategy == "random" and cell.seed == BEYOND, (
                "a seed that nothing else has"
            )
            rounds = cell.result["rounds"]
            curve = Curve(tuple(r["labels"] for r in rounds), tuple(r["scores"]["macro_f1"] for r in rounds))
            assert height == pytest.approx(area_under_curve(curve))
        assert (one.best, max(height for _, height in one.tried)) in one.tried
    best = {one.data: one.best for one in summary.tuned}
    cells = cells_of(config, data, {(one.data, one.learner): one.best for one in summary.tuned})
    for cell in cells:
        assert {key: cell.config["learner"][key] for key in best[cell.data]} == best[cell.data] and cell.result


def test_trials_are_scored_on_rows_of_the_pool_that_they_cannot_ask_for(tuned):
    _, config, _ = tuned
    [(_, [trial]), *_] = _trials(config, prepare(config), "one", "frozen")
    pool, held = _data(_key(check_config({**trial.config, "output_dir": "-"}), None))
    [compared, *_] = cells_of(config, prepare(config))
    whole, test = _data(_key(check_config({**compared.config, "output_dir": "-"}), None))
    held_texts, test_texts = set(held["text"]), set(test["text"])
    assert len(held) == 30 and held_texts <= set(whole.dataset["text"])
    assert not held_texts & set(pool.dataset["text"]) and not held_texts & test_texts


def test_what_was_tried_is_told_and_locked(tuned):
    folder, _, summary = tuned
    assert "Settings tried with random" in (folder / "tables.md").read_text()
    assert "normalize: False" in (folder / "report.html").read_text()
    lock = read_json(folder / "bench.lock.json")
    assert [one["best"] for one in lock["tuned"]] == [one.best for one in summary.tuned]
    assert lock["config"]["tune"]["settings"] == TRIED["settings"]


def test_what_a_setting_changes_is_as_if_it_had_been_written(tmp_path, tiny_model):
    learners = {"tuned": {"type": "fine_tune", "model": tiny_model, "training": {"min_steps": 7}}}
    config = check_bench(matrix(tmp_path, tiny_model, learners=learners))
    written = {"type": "fine_tune", "model": tiny_model, "lora": {"r": 2}, "training": {"min_steps": 9}}
    wanted = check_bench(matrix(tmp_path, tiny_model, learners={"tuned": written})).learners["tuned"]
    assert config.learner_with("tuned", {"lora": {"r": 2}, "training.min_steps": 9}) == wanted
    assert wanted.training.learning_rate > config.learners["tuned"].training.learning_rate, "as adapters need it"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"frosen": {"C": [1]}}, "no learner 'frosen' (did you mean 'frozen'?)"),
        ({"frozen": {"c": [1]}}, "frozen: unknown key learner.c"),
        ({"frozen": {"C": [-1]}}, "must be greater than 0"),
        ({"frozen": {"C": []}}, "at least 1"),
        ({"frozen": {"model.x": [1]}}, "frozen: model is a value, not a section"),
    ],
)
def test_what_cannot_be_tried_is_refused_before_anything_runs(tmp_path, tiny_model, settings, said):
    with pytest.raises(HfalError, match="tune") as refused:
        check_bench(matrix(tmp_path, tiny_model, tune={"settings": settings}))
    assert said in str(refused.value), refused.value


def test_no_more_rows_are_held_out_than_half_a_pool(tmp_path, tiny_model):
    config = check_bench(matrix(tmp_path, tiny_model, tune={**TRIED, "rows": 61}))
    with pytest.raises(HfalError, match="61 is more than half of the 74 rows of two"):
        run_bench(config)
