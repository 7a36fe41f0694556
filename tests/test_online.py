"""A model that learns while people write."""

import pytest
import torch
import yaml

from hfal import Generation, HfalError
from hfal.config import check_config, load_config
from hfal.labeling.desk import Desk
from hfal.labeling.helping import WritingHelper, helper_for
from hfal.learners import Generate
from hfal.online import OnlineWriter, Turn
from hfal.running import run_config
from tests.test_writing_run import write_project
from tests.writing import SAID, make_texts, save_tiny_writer


@pytest.fixture(scope="module", params=["t5", "llama"])
def writer(request, tmp_path_factory):
    return save_tiny_writer(tmp_path_factory.mktemp(request.param), request.param)


def online(model, tiny_model, **options):
    learner = Generate(model, embedder=tiny_model, max_new_tokens=10, max_source_length=40)
    learner.bind(Generation(), 0)
    return OnlineWriter(learner, **options)


def turns(size, seed=0):
    rows = make_texts(size, seed)
    return [Turn(f"r{seed}x{at}", row["source"], row["target"]) for at, row in enumerate(rows)]


def loss_of(chat, turn):
    from hfal.generating import WritingExamples

    learner = chat.learner
    sources, targets = learner.writer.sources([turn.source]), learner.writer.targets([turn.text])
    examples = WritingExamples(sources, targets, learner.writer)
    with torch.no_grad():
        return float(
            examples.losses(chat.model.eval(), learner.task, torch.tensor([0]).numpy(), torch.device("cpu")).mean()
        )


def test_candidates_differ_and_are_the_same_when_asked_again(writer, tiny_model):
    chat = online(writer, tiny_model, candidates=4)
    texts = chat.propose("row", "the film was great")
    assert 1 <= len(texts) <= 4 and len(set(texts)) == len(texts)
    assert chat.propose("row", "the film was great") == texts


def test_one_step_moves_the_model_towards_what_was_written(writer, tiny_model):
    chat = online(writer, tiny_model, learning_rate=3e-3, replay=0)
    turn = turns(1)[0]
    before = loss_of(chat, turn)
    chat.learn(turn)
    assert loss_of(chat, turn) < before


def test_many_turns_teach_what_to_write(writer, tiny_model):
    chat = online(writer, tiny_model, learning_rate=5e-3, replay=8)
    for turn in turns(120):
        chat.learn(turn)
    assert chat.propose("new", make_texts(1, 9)["source"][0])[0] in SAID.values()


def test_replay_keeps_what_was_learned_before(writer, tiny_model):
    """First one kind of text, then only another: with replay the first is forgotten less."""
    first = [Turn(f"a{n}", f"the film n{n}", "it is a sad film") for n in range(30)]
    then = [Turn(f"b{n}", f"the phone n{n}", "quite usual") for n in range(30)]
    losses = {}
    for replay in (0, 6):
        chat = online(writer, tiny_model, learning_rate=3e-3, replay=replay)
        for turn in [*first, *then]:
            chat.learn(turn)
        losses[replay] = loss_of(chat, first[0])
    assert losses[6] < losses[0]


def test_the_same_turns_make_the_same_model(writer, tiny_model):
    one, other = (online(writer, tiny_model, learning_rate=1e-3) for _ in range(2))
    for turn in turns(6):
        assert one.learn(turn) == other.learn(turn)
    assert one.propose("r", "the film") == other.propose("r", "the film")


def waiting(tmp_path, tiny_model, writer):
    options = {"candidates": 3, "learning_rate": 1.0e-3, "replay": 2}
    path = write_project(tmp_path, writer, tiny_model, oracle="people", audit=0.2, mode="online", online=options)
    run_config(load_config(path), lambda *_: None)
    return tmp_path / "run"


def test_the_page_proposes_and_learns_and_a_restart_knows_what_was_learned(tmp_path, tiny_model, writer):
    folder = waiting(tmp_path, tiny_model, writer)
    helper = helper_for(folder)
    desk = Desk(folder, helper=helper)
    said, asked = desk.start("ann"), 0
    for _ in range(4):
        row = said["row"]
        audited = desk.work.rows[row["id"]]["audit"]
        assert ("candidates" in row) != audited
        asked += not audited
        said = desk.answer("ann", {"id": row["id"], "label": "it is a happy phone", "seconds": 1.0})
    desk.close()
    assert len(helper.writer.turns) == asked
    again = WritingHelper(folder)
    assert [t.id for t in again.writer.turns] == [t.id for t in helper.writer.turns]
    for one, other in zip(again.writer.model.parameters(), helper.writer.model.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    desk = Desk(folder, helper=again)
    said = desk.next("ann")
    while said["row"]:
        said = desk.answer("ann", {"id": said["row"]["id"], "label": "quite usual", "seconds": 1.0})
    desk.close()
    run_config(load_config(folder), lambda *_: None)
    after = WritingHelper(folder)
    assert not after.writer.turns and len(after.writer._before) > asked


def test_a_run_that_is_not_online_has_no_helper(tmp_path, tiny_model, writer):
    run_config(load_config(write_project(tmp_path, writer, tiny_model, oracle="people")), lambda *_: None)
    assert helper_for(tmp_path / "run") is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"oracle": "simulated"}, "mode: online is for people who write"),
        ({"task": {"type": "text_classification"}}, "mode: online is for people who write"),
        ({"mode": "rounds", "online": {"replay": 3}}, "add mode: online"),
        ({"online": {"candidates": 0}}, "candidates"),
    ],
)
def test_impossible_settings_are_one_line(changes, message, tmp_path, writer, tiny_model):
    path = write_project(tmp_path, writer, tiny_model, oracle="people", mode="online")
    with pytest.raises(HfalError, match=message):
        check_config(yaml.safe_load(path.read_text()) | changes)
