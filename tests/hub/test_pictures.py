"""Rounds with pictures on the Hub."""

from hfal.config import load_config
from hfal.hub import clone, push
from hfal.running import run_config
from tests.hub.test_sharing import load
from tests.test_vqa_run import write_project


def test_the_viewer_gets_pictures_and_a_clone_goes_on(hub, tmp_path, tiny_model):
    run_config(load_config(write_project(tmp_path, tiny_model, baseline=None)), lambda *_: None)
    pushed = push(tmp_path / "run", "team/seen", licence="cc0-1.0", ask=lambda _: True)
    assert pushed.new == [0, 1, 2]
    code = """(lambda d: [len(d), str(d.features["image"]), d[0]["image"].size, d[0]["label"]])(
        load_dataset("team/seen", split="train"))"""
    rows, feature, size, label = load(code)
    assert rows == 30 and feature.startswith("Image(") and size == [24, 24] and isinstance(label, list)
    card = hub.repos["team/seen"].commits[-1].files["README.md"].decode()
    assert "visual-question-answering" in card
    view = clone("team/seen", tmp_path / "copy", [f"output_dir={tmp_path / 'copy'}"])
    assert len(view.rounds) == 3
