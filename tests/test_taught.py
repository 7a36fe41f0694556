import pytest

from hfal import ActiveLearner, FineTune, Pool, TextClassification, TrainingConfig
from hfal.taught import WANTING, unconverged
from hfal.training_config import GUESS
from tests.conftest import NAMES


def said(done):
    return [note for note in done.notes if note.startswith(WANTING)]


def run_of(model, rows, batch=12, **training):
    pool = Pool.from_dataset(rows, TextClassification(label_names=NAMES))
    learner = FineTune(model, TrainingConfig(num_train_epochs=1, learning_rate=5e-3, **training))
    return list(ActiveLearner(pool, learner, strategy="random", start="random", budget=2 * batch, batch_size=batch))


def test_training_that_has_not_converged_is_told_once(tiny_model, rows, caplog):
    first, second = run_of(tiny_model, rows, min_steps=1)
    assert len(said(first)) == 1 and not said(second)
    assert "of a guess is 1.10; try a higher learner.training.learning_rate, or more min_steps" in said(first)[0]
    assert caplog.text.count(WANTING) == 1


def test_training_that_has_converged_is_not(tiny_model, rows):
    assert not any(said(done) for done in run_of(tiny_model, rows, batch=4, min_steps=60))


@pytest.mark.parametrize("option", [{"label_smoothing": 0.1}, {"self_paced": 0.5}, {"consistency": 1.0}])
def test_losses_that_mean_something_else_are_not_held_against_a_guess(option, tiny_model, rows):
    first, _ = run_of(tiny_model, rows, min_steps=1, **option)
    assert GUESS not in first.training and not said(first)


def test_a_loss_is_held_against_that_of_a_guess():
    assert unconverged({"loss": 0.5, GUESS: 1.0}, []) and not unconverged({"loss": 0.1, GUESS: 1.0}, [])
    assert not unconverged({"loss": 5.0}, [])  # of learners whose loss is another
