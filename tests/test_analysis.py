import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from hfal import ActiveLearner, FrozenHead, Generation, HfalError, TextClassification, TokenClassification, analysis
from hfal.analysis import ALIKE, Analysis, _after_labels, analyse, gradient_norms, lines_of, share_alike, spread_of
from hfal.cli import app
from hfal.evaluation.comparing import Comparison
from hfal.functional import Ragged
from hfal.pool import labelled
from tests.conftest import NAMES, TAGS, make_rows, make_tagged

TASK = TextClassification(label_names=NAMES)
TAGGING = TokenClassification(label_names=TAGS, scheme="BIO")


def test_near_duplicates_and_directions_by_brute_force(generator):
    rows = torch.randn(60, 5, generator=generator)
    rows[7] = 3 * rows[3] + 1e-3
    unit = torch.nn.functional.normalize(rows, dim=1)
    near = [any(float(unit[i] @ unit[j]) >= ALIKE for j in range(60) if j != i) for i in range(60)]
    assert share_alike(rows, together=7) == pytest.approx(np.mean(near))
    assert near[3]
    assert near[7]
    assert spread_of(torch.eye(8).repeat(50, 1)) == pytest.approx(7, abs=0.1)  # of 8 centred ones
    assert spread_of(torch.randn(500, 1, generator=generator) * torch.ones(1, 6)) == pytest.approx(1)


def test_gradients_of_the_loss_in_the_logits(generator):
    rows = labelled(make_rows(10), TASK)
    logits = torch.randn(10, 3, generator=generator, requires_grad=True)
    torch.nn.functional.cross_entropy(logits, torch.as_tensor(rows["labels"]), reduction="sum").backward()
    np.testing.assert_allclose(gradient_norms(logits.detach(), TASK, rows), logits.grad.norm(dim=1), rtol=1e-5)


def test_gradients_of_a_row_of_words(generator):
    rows = labelled(make_tagged(6), TAGGING)
    wanted = TAGGING.targets(rows["labels"])
    values = torch.randn(len(wanted.values), len(TAGS), generator=generator, requires_grad=True)
    torch.nn.functional.cross_entropy(values, wanted.values, reduction="sum").backward()
    norms = gradient_norms(Ragged(values.detach(), wanted.offsets), TAGGING, rows)
    by_hand = [float(part.norm()) for part in values.grad.split(wanted.lengths.tolist())]
    np.testing.assert_allclose(norms, by_hand, rtol=1e-5)


def test_words_are_compared_by_what_they_cost(tiny_model, monkeypatch, caplog):
    monkeypatch.setattr(analysis, "DRAWS", 3)
    budgets = []
    monkeypatch.setattr(
        analysis, "ActiveLearner", lambda *given, **how: budgets.append(how) or ActiveLearner(*given, **how)
    )
    rows = make_tagged(120)
    with caplog.at_level("WARNING", "hfal"):
        found = analyse(rows, TAGGING, FrozenHead(tiny_model), has_labels=True)
    assert "seed set" not in caplog.text, "these runs are only played through"
    assert set(found.classes) == {"bad", "good"} and sum(found.classes.values()) > 120 and found.metric == "f1"
    assert found.chosen.pairs == 3 and found.strategy == "typiclust, then mnlp>kmeans(prefilter=10)"
    words = np.mean([len(row) for row in rows["tokens"]])
    assert budgets[0]["batch_size"]["words"] == pytest.approx(2 * words, rel=0.2)
    assert budgets[0]["budget"]["words"] == 10 * budgets[0]["batch_size"]["words"]


def test_a_whole_analysis_says_what_the_data_is(tiny_model, monkeypatch):
    monkeypatch.setattr(analysis, "DRAWS", 3)
    rows = make_rows(150)
    skewed = rows.select([at for at in range(150) if rows[at]["label"] != 2 or at % 3 == 0])
    found = analyse(skewed, TASK, FrozenHead(tiny_model), has_labels=True)
    counts = np.bincount(skewed["label"], minlength=3)
    assert found.classes == dict(sorted(zip(NAMES, counts.tolist(), strict=True), key=lambda item: -item[1]))
    assert found.distinct == len(skewed)
    assert set(found.chance) == {50}
    assert found.kept.keys() == found.drawn.keys()
    assert found.free == 1 - min([s for s, score in found.kept.items() if score >= found.whole - 0.01], default=1)
    assert found.chosen.pairs == 3
    assert found.strategy == "typiclust, then margin>kmeans(prefilter=10)"
    again = analyse(skewed, TASK, FrozenHead(tiny_model), has_labels=True)
    assert again.record() == found.record()
    assert "macro_f1" in "\n".join(lines_of(found))


def test_what_it_comes_to_follows_from_the_interval():
    base = Analysis(1, 1, 0.0, 1.0, "s", "r", "", {"a": 1}, "f1", {50: (0.5, 0.1), 100: (0.6, 0.1)}, 0.7)

    def verdict(low, high, whole=0.7):
        gap = Comparison((low + high) / 2, low, high, 0.1, 5, None)
        return _after_labels(replace(base, chosen=gap, whole=whole))

    assert verdict(0.01, 0.05).startswith("Labels are worth choosing")
    assert verdict(-0.05, -0.01).startswith("Choose by chance")
    assert "not told apart" in verdict(-0.01, 0.02)
    assert "100 drawn by chance teach as much" in verdict(-0.01, 0.02, whole=0.605)


def test_the_command_with_and_without_labels(tiny_model, tmp_path):
    make_rows(60).remove_columns("label").to_csv(tmp_path / "texts.csv", index=False)
    out = tmp_path / "found.json"
    run = CliRunner().invoke(app, ["analyze", str(tmp_path / "texts.csv"), "--model", tiny_model, "-o", str(out)])
    assert run.exit_code == 0, run.output
    assert "60 distinct" in run.output
    assert "typiclust" in run.output
    assert json.loads(out.read_text())["chance"] == {}
    again = CliRunner().invoke(app, ["analyze", str(tmp_path / "texts.csv"), "--model", tiny_model, "-o", str(out)])
    assert again.exit_code != 0, "an existing file is kept"


def test_what_it_cannot_look_at_is_told(tiny_model):
    with pytest.raises(HfalError, match="too few"):
        analyse(make_rows(20), TASK, FrozenHead(tiny_model), has_labels=True)
    writing = Generation()
    with pytest.raises(HfalError, match="not at generation"):
        analyse(make_tagged(60), writing, FrozenHead(tiny_model), has_labels=True)


def test_rows_without_labels_are_looked_at_and_wrong_labels_are_told_by_their_row(tiny_model, monkeypatch):
    monkeypatch.setattr(analysis, "DRAWS", 2)
    rows = make_rows(90)
    names = [NAMES[label] if at % 2 else None for at, label in enumerate(rows["label"])]
    data = rows.remove_columns("label").add_column("label", names)
    found = analyse(data, TASK, FrozenHead(tiny_model), has_labels=True)
    assert found.distinct == 90
    assert sum(found.classes.values()) == 45
    names[7] = "awful"
    data = rows.remove_columns("label").add_column("label", names)
    with pytest.raises(HfalError, match="row 7 of the data"):
        analyse(data, TASK, FrozenHead(tiny_model), has_labels=True)
    few = rows.remove_columns("label").add_column("label", [*names[:5], *[None] * 85])
    assert analyse(few, TASK, FrozenHead(tiny_model), has_labels=True).chosen is None
