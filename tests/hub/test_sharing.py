"""Rounds on the Hub, through the real clients."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import CommitOperationAdd, HfApi
from PIL import Image

from hfal.errors import HfalError
from hfal.hub import clone, pull, push
from hfal.hub.contents import check_name
from hfal.labeling import open_work
from tests.conftest import NAMES, TAGS
from tests.hub.conftest import answers_in, go_on, label_round
from tests.hub.server import TOKEN
from tests.labeling.conftest import rows_of, text_of, truth_of
from tests.test_cli import hfal, selections

NAME = "team/run"


def yes(question):
    return True


def load(code):
    """What a fresh process of `datasets` sees, as JSON."""
    text = f"import json\nfrom datasets import load_dataset\nprint('found', json.dumps({code}, default=str))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("found")).removeprefix("found"))


def test_a_run_becomes_a_data_set_that_loads(hub, shared):
    folder = shared()
    pushed = push(folder, NAME, licence="cc-by-4.0", ask=yes)
    assert pushed.new == [0, 1, 2]
    repo = hub.repos[NAME]
    assert repo.private
    assert [commit.message for commit in repo.commits[1:]] == [
        "Round 0: labelled",
        "Round 1: labelled",
        "Round 2: 12 rows to label",
    ]
    assert {tag: repo.at(tag).message for tag in repo.tags} == {
        "round-0000": "Round 0: labelled",
        "round-0001": "Round 1: labelled",
    }
    code = f"""(lambda d, r, w: [d["train"][:], str(d["train"].features["label"]), sorted(r), len(r["queried"]),
        r["labeled"][:]["id"], sorted(w), w["queried"][:]["predicted"], w["queried"][:]["audit"]])(
        load_dataset("{NAME}"), load_dataset("{NAME}", "round_0001"), load_dataset("{NAME}", "round_0002"))"""
    train, feature, splits, queried, ids, waiting, predicted, audits = load(code)
    assert feature == f"ClassLabel(names={NAMES})"
    assert {text: NAMES[label] for text, label in zip(train["text"], train["label"], strict=True)} == {
        text: label for text, label in truth_of("text").items() if text in train["text"]
    }
    assert len(train["text"]) == 24 and sum(train["audit"]) == 10
    assert splits == ["labeled", "queried"] and queried == len(ids) == 12
    assert waiting == ["queried"] and all(
        (guess is None) == audit for guess, audit in zip(predicted, audits, strict=True)
    )


@pytest.mark.parametrize("kind", ["words", "multi"])
def test_words_and_several_labels_keep_their_names(hub, shared, kind):
    folder = shared(kind)
    push(folder, NAME, licence="mit", ask=yes)
    train, feature = load(f'(lambda d: [d[:], str(d.features["label"])])(load_dataset("{NAME}", split="train"))')
    names = TAGS if kind == "words" else NAMES
    assert feature == f"List(ClassLabel(names={names}))"
    truth = truth_of(kind)
    for at, label in enumerate(train["label"]):
        row = {name: train[name][at] for name in ("tokens", "text") if name in train}
        said = [names[one] for one in label]
        assert said == (truth[text_of(row)] if kind == "words" else sorted(set(truth[text_of(row)]), key=NAMES.index))


def test_the_card_says_what_one_must_know(hub, shared):
    push(shared(), NAME, licence="cc-by-4.0", ask=yes)
    files = hub.repos[NAME].head.files
    card = files["README.md"].decode()
    head = yaml.safe_load(card.split("---")[1])
    assert head["license"] == "cc-by-4.0" and head["task_categories"] == ["text-classification"]
    assert [one["config_name"] for one in head["configs"]] == ["default", "round_0000", "round_0001", "round_0002"]
    for part in (
        "bad, fine, good",
        "24 of 36 labels spent",
        "**Round 2 waits",
        "hfal clone team/run",
        "95% interval",
    ):
        assert part in card, part
    kept = json.loads(files["hfal.json"])
    assert kept["config"]["strategy"] == "auto" and kept["config"]["seed"] == 0
    assert set(kept["versions"]) >= {"torch", "transformers", "datasets"}


@pytest.mark.parametrize("kind", ["ensemble", "custom"])
def test_the_card_names_the_model_of_learners_made_of_others(hub, shared, kind):
    folder = shared()
    config = yaml.safe_load((folder / "config.yaml").read_text())
    own = config["learner"]
    ensemble = {"type": "ensemble", "of": {"type": "frozen_head", "model": own["model"]}, "members": 2}
    config["learner"] = ensemble if kind == "ensemble" else {"type": "custom", "path": "mine:Mine"}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    push(folder, NAME, licence="mit", ask=yes)
    files = hub.repos[NAME].head.files
    card = files["README.md"].decode()
    assert f"| model | {Path(own['model']).name if kind == 'ensemble' else 'mine:Mine'} ({kind}) |" in card
    assert own["model"] not in card + files["hfal.json"].decode(), "folders of this machine stay here"


def test_the_card_shows_the_curve(hub, shared):
    folder = shared()
    label_round(folder)
    go_on(folder)
    push(folder, NAME, licence="mit", ask=yes)
    files = hub.repos[NAME].head.files
    assert files["curve.png"].startswith(b"\x89PNG") and b"(curve.png)" in files["README.md"]


def test_nothing_of_this_machine_and_no_token_leaves_it(hub, shared, tmp_path):
    folder = shared()
    push(folder, NAME, licence="mit", ask=yes)
    pool = len(truth_of("text"))
    texts = set()
    for path, content in hub.repos[NAME].head.files.items():
        assert TOKEN.encode() not in content, path
        assert str(tmp_path).encode() not in content and b"/tmp/" not in content, path
        if path.endswith("queried-00000-of-00001.parquet"):
            (tmp_path / "one.parquet").write_bytes(content)
            texts |= set(pq.read_table(tmp_path / "one.parquet")["text"].to_pylist())
    assert len(texts) == 36 < pool
    for path in folder.rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes(), path


def test_the_same_again_does_nothing(hub, shared):
    folder = shared()
    push(folder, NAME, licence="mit", ask=yes)
    before = [commit.oid for commit in hub.repos[NAME].commits]
    again = push(folder, ask=yes)
    assert (again.new, again.known) == ([], [0, 1, 2])
    assert [commit.oid for commit in hub.repos[NAME].commits] == before


def test_another_run_under_the_same_name_is_refused(hub, shared, tmp_path):
    folder = shared()
    push(folder, NAME, licence="mit", ask=yes)
    before = hub.repos[NAME].head.oid
    other = shared(name="other")
    path = other / "rounds" / "0001" / "selection.parquet"
    table = pq.read_table(path)
    pq.write_table(table.take(list(reversed(range(len(table))))), path)
    with pytest.raises(HfalError, match="another round 1"):
        push(other, NAME, licence="mit", ask=yes)
    assert hub.repos[NAME].head.oid == before


def test_a_licence_that_nobody_knows_is_asked_about(hub, shared):
    folder, asked = shared(), []
    with pytest.raises(HfalError, match="--license"):
        push(folder, NAME, ask=lambda question: bool(asked.append(question)))
    assert "licence of the source is not known" in asked[0] and NAME not in hub.repos
    push(folder, NAME, ask=yes)
    assert "not known: ask before you use the texts" in hub.repos[NAME].head.files["README.md"].decode().replace(
        "\\", ""
    )


def test_public_only_by_word(hub, shared):
    folder = shared()
    push(folder, NAME, licence="mit", public=True, ask=yes)
    assert not hub.repos[NAME].private
    with pytest.raises(HfalError, match="is public"):
        push(folder, licence="mit", ask=yes)


def test_a_waiting_round_is_labelled_by_others_and_pulled(hub, shared):
    folder = shared()
    push(folder, NAME, licence="mit", ask=yes)
    truth = truth_of("text")
    rows = [{"id": row["id"], "label": truth[row["text"]], "annotator": "bob"} for row in rows_of(folder)]
    code = f"""
from datasets import ClassLabel, Dataset, Features, Value
rows = {rows!r}
features = Features({{"id": Value("string"), "label": ClassLabel(names={NAMES!r}), "annotator": Value("string")}})
Dataset.from_list(rows, features=features).push_to_hub("{NAME}", "round_0002", split="labeled", set_default=False)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    taken = pull(folder)
    assert (taken.new, taken.known) == (12, 0)
    assert {row: people["bob"].label for row, people in answers_in(folder).items()} == {
        r["id"]: r["label"] for r in rows
    }
    assert pull(folder).new == 0, "the same labels again are no new ones"
    go_on(folder)
    assert push(folder, ask=yes).new == [2], "the last round, which no other follows"
    labels = load(f'load_dataset("{NAME}", "round_0002", split="labeled")[:]["annotator"]')
    assert labels == ["bob"] * 12


def test_a_correction_reaches_the_round_that_it_corrects(hub, shared):
    folder = shared()
    push(folder, NAME, licence="mit", ask=yes)
    before = hub.repos[NAME].head.files
    row = next(row for row in rows_of_round(folder, 0) if not row["audit"])
    wrong = "bad" if truth_of("text")[row["text"]] != "bad" else "good"
    path = folder.parent / "fix.jsonl"
    path.write_text(json.dumps({"id": row["id"], "label": wrong, "annotator": "ann"}) + "\n")
    hfal("import", folder, path)
    label_round(folder)
    go_on(folder)
    assert push(folder, ask=yes).new == [2]
    after = hub.repos[NAME].head.files
    changed = {path for path in after if path.startswith("rounds/") and after[path] != before.get(path)}
    assert changed == {f"rounds/{n}/labeled-00000-of-00001.parquet" for n in ("0000", "0002")}
    labels = load(
        f'(lambda d: dict(zip(d["id"], d["label"])))(load_dataset("{NAME}", "round_0000", split="labeled")[:])'
    )
    assert NAMES[labels[row["id"]]] == wrong


def rows_of_round(folder, number):
    return list(open_work(folder, number).rows.values())


def others_push(hub, rows, path="rounds/0002/labeled.jsonl"):
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    HfApi(token=TOKEN).create_commit(
        NAME, [CommitOperationAdd(path, content)], commit_message="labels", repo_type="dataset"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": "0" * 32}, "column id: '00000000000000000000000000000000' was not asked"),
        ({"label": "goood"}, "column label: label 'goood' in row"),
        ({"round": 1}, "column round: 1 is not round 2"),
    ],
)
def test_labels_that_do_not_fit_are_named_and_none_is_taken(hub, shared, change, said):
    folder = shared()
    push(folder, NAME, licence="mit", ask=yes)
    rows = [{"id": row["id"], "label": "good", "round": 2} for row in rows_of(folder)]
    rows[3] |= change
    others_push(hub, rows)
    with pytest.raises(HfalError) as caught:
        pull(folder)
    assert f"{NAME}, round 2, line 4, {said}" in str(caught.value)
    assert answers_in(folder) == {}


def test_labels_on_the_hub_are_never_overwritten_unseen(hub, shared):
    folder = shared()
    push(folder, NAME, licence="mit", ask=yes)
    rows = rows_of(folder)
    others_push(hub, [{"id": row["id"], "label": "bad", "annotator": "bob"} for row in rows[:5]])
    truth = truth_of("text")
    mine = folder.parent / "some.jsonl"
    mine.write_text("".join(json.dumps({"id": r["id"], "label": truth[r["text"]]}) + "\n" for r in rows[4:]))
    hfal("import", folder, mine)
    hfal("run", folder, "--accept-partial")
    with pytest.raises(HfalError, match="5 labels of round 2 that this run lacks"):
        push(folder, ask=yes)
    assert pull(folder).new == 5, "also of a round that was finished here meanwhile"
    assert push(folder, ask=yes).new == [2, 3]


def test_someone_else_goes_on_with_a_clone(hub, shared, made_run, tmp_path):
    folder = shared()
    push(folder, NAME, licence="mit", ask=yes)
    made = made_run("text")
    model = yaml.safe_load((folder / "config.yaml").read_text())["learner"]["model"]
    where = [f"pool.source={made / 'rows.jsonl'}", f"learner.model={model}"]
    run = clone(NAME, tmp_path / "theirs", where)
    assert len(run.rounds) == 2
    assert selections(tmp_path / "theirs") == selections(folder)
    for place in (folder, tmp_path / "theirs"):
        label_round(place)
        go_on(place)
    one, other = (
        pq.read_table(place / "rounds" / "0002" / "labels.parquet")["label"].to_pylist()
        for place in (folder, tmp_path / "theirs")
    )
    assert one == other
    assert push(tmp_path / "theirs", ask=yes).new == [2]
    assert push(folder, ask=yes).new == [], "the same round, finished on two machines, is there once"


def test_a_clone_needs_an_empty_folder_and_a_run(hub, shared, tmp_path):
    folder = shared()
    push(folder, NAME, licence="mit", ask=yes)
    with pytest.raises(HfalError, match="not empty"):
        clone(NAME, folder)
    with pytest.raises(HfalError, match="there is no data set team/none"):
        clone("team/none", tmp_path / "new")
    HfApi(token=TOKEN).create_repo("team/plain", repo_type="dataset")
    with pytest.raises(HfalError, match="was not pushed by hfal"):
        clone("team/plain", tmp_path / "new")


@pytest.mark.parametrize("path", ["run/../../etc/passwd", "/run/x", "run/..", "run", "other/x", "run/a\\..\\b"])
def test_files_of_a_repo_cannot_leave_the_run_folder(path):
    with pytest.raises(HfalError, match="leads out"):
        check_name(path)


def test_names_from_the_data_are_text_in_the_card(hub, shared):
    folder = shared()
    for name in ("pool.json", "config.yaml"):
        path = folder / name
        path.write_text(path.read_text().replace("fine", "<script>alert(1)</script>|x"))
    for path in folder.glob("rounds/*/labels.parquet"):
        table = pq.read_table(path).to_pylist()
        for row in table:  # a hostile class
            row["label"] = row["label"].replace("fine", "<script>alert(1)</script>|x")
        pq.write_table(pa.Table.from_pylist(table, pq.read_schema(path)), path)
    push(folder, NAME, licence="mit", ask=yes)
    card = hub.repos[NAME].head.files["README.md"].decode().split("---", 2)[2]
    assert "<script" not in card and "&lt;script&gt;" in card
    assert "\\|x" in card


def test_a_wrong_token_is_one_clear_line(hub, shared, monkeypatch):
    folder = shared()
    wrong = "hf_" + "w" * 34
    monkeypatch.setenv("HF_TOKEN", wrong)
    done = hfal("push", folder, NAME, "--license", "mit")
    assert done.returncode == 2 and "does not let you at team/run (401)" in done.stderr
    assert wrong not in done.stderr + done.stdout
    assert not re.search("Traceback", done.stderr)


def test_what_looks_like_a_token_is_not_pushed(hub, shared):
    folder = shared()
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["pool"]["source"] = "https://user:hf_" + "a" * 34 + "@example.org/rows.jsonl"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(HfalError, match="access token"):
        push(folder, NAME, licence="mit", ask=yes)
    assert len(hub.repos[NAME].commits) == 1


def test_push_pull_clone_on_the_command_line(hub, shared, tmp_path):
    folder = shared()
    done = hfal("push", folder, NAME, "--license", "mit")
    assert done.returncode == 0, done.stderr
    assert "Round 2 pushed." in done.stdout and "hfal pull" in done.stdout
    assert "Nothing to push" in hfal("push", folder).stdout
    assert "nobody has pushed labels" in hfal("pull", folder).stderr
    others_push(hub, [{"id": row["id"], "label": "good"} for row in rows_of(folder)[:3]])
    assert "3 labels taken" in hfal("pull", folder).stdout
    cloned = hfal("clone", NAME, tmp_path / "copy")
    assert cloned.returncode == 0 and "2 finished rounds" in cloned.stdout
    assert len(open_work(tmp_path / "copy").rows) == 12


def test_pictures_ride_along_as_images(hub, shared):
    folder = shared()
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (200, 30, 30)).save(buffer, format="PNG")
    picture = {"bytes": buffer.getvalue(), "path": "red.png"}
    for path in folder.glob("rounds/*/selection.parquet"):
        table = pq.read_table(path)
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        pq.write_table(table.append_column("image", pa.array([picture] * len(table), kind)), path)
    about = json.loads((folder / "pool.json").read_text())
    (folder / "pool.json").write_text(json.dumps(about | {"inputs": ["text", "image"]}))
    push(folder, NAME, licence="mit", ask=yes)
    feature, size, color = load(
        "(lambda d: [str(d.features['image']), d[0]['image'].size, d[0]['image'].getpixel((1, 1))])"
        f'(load_dataset("{NAME}", split="train"))'
    )
    assert feature.startswith("Image(") and size == [8, 6] and color == [200, 30, 30]
