"""A model that labels: over HTTP as OpenAI's endpoints speak, and as a local model."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow.parquet as pq
import pytest
import yaml
from datasets import Dataset

from hfal import Generation, HfalError, Pairs, Pool, TextClassification, TokenClassification, VisualQuestionAnswering
from hfal.annotators import Annotator, Endpoint, LocalModel, Said
from hfal.answers import Answers
from hfal.assisted import Assisted
from hfal.config import check_config, load_config
from hfal.labeling import open_work
from hfal.labeling.desk import Desk
from hfal.output import status_lines
from hfal.report.view import open_run
from hfal.running import run_config
from tests.conftest import NAMES, WORDS, make_rows
from tests.pictures import drawn
from tests.writing import save_tiny_writer

TASK = TextClassification(label_names=NAMES)
KEY = "sk-secret-0123456789"


class Server(ThreadingHTTPServer):
    """Labels by the words of the text; fails as it is told to."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[dict] = []
        self.fail: list[int] = []
        self.say = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body | {"key": self.headers.get("Authorization"), "path": self.path})
        status = self.server.fail.pop(0) if self.server.fail else 200
        text = body["messages"][-1]["content"]
        kind = next((name for name in NAMES for word in WORDS[name] if word in text.split()), "fine")
        said = self.server.say or f'"{kind.upper()}".'
        answer = {"choices": [{"message": {"content": said}}], "usage": {"prompt_tokens": 100, "completion_tokens": 2}}
        content = json.dumps(answer if status == 200 else {"error": "no"}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    found = Server()
    threading.Thread(target=found.serve_forever, daemon=True).start()
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setattr("hfal.annotators.time.sleep", lambda _: None)
    yield found
    found.shutdown()
    found.server_close()


def write_project(folder, model, server, **changes):
    rows = make_rows(80)
    Dataset.from_dict({"text": rows["text"][:]}).to_json(folder / "rows.jsonl")
    annotator = {
        "model": "big-one",
        "endpoint": server.url,
        "api_key_env": "MY_KEY",
        "price": {"input": 1.0, "output": 10.0},
        "check": 0.0,
    } | changes.pop("annotator", {})
    config = {
        "output_dir": str(folder / "run"),
        "pool": {"source": str(folder / "rows.jsonl")},
        "task": {"type": "text_classification", "label_names": NAMES},
        "learner": {"model": model},
        "strategy": "margin",
        "oracle": "model",
        "annotator": annotator,
        "audit": 0.0,
        "budget": {"rows": 30},
        "batch": {"rows": 10},
    } | changes
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder / "config.yaml"


def truth():
    rows = make_rows(80)
    return {text: NAMES[label] for text, label in zip(rows["text"], rows["label"], strict=True)}


def test_a_model_labels_all_rounds_and_what_it_says_is_marked_and_priced(tmp_path, tiny_model, server):
    config = load_config(write_project(tmp_path, tiny_model, server))
    outcome = run_config(config, lambda *_: None)
    assert outcome.waiting is None and [r.labeled for r in outcome.rounds[0][1]] == [10, 20, 30]
    known = truth()
    for number in range(3):
        asked = pq.read_table(tmp_path / f"run/rounds/{number:04d}/selection.parquet").to_pylist()
        labels = {r["id"]: r for r in pq.read_table(tmp_path / f"run/rounds/{number:04d}/labels.parquet").to_pylist()}
        for row in asked:
            label = labels[row["id"]]
            assert (label["source"], label["annotator"]) == ("model", "model:big-one")
            assert label["label"] == known[row["text"]]
    assert len(server.asked) == 30
    assert server.asked[0]["path"] == "/v1/chat/completions" and server.asked[0]["key"] == f"Bearer {KEY}"
    assert "bad, fine, good" in server.asked[0]["messages"][-1]["content"]
    lines = "\n".join(status_lines(open_run(tmp_path / "run")))
    assert "model     big-one: 30 answers, for 0.0036" in lines
    for path in (tmp_path / "run").rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes()


def test_what_a_model_says_that_no_file_can_hold_is_skipped_and_paid(server, caplog):
    server.say = "\ud800"
    pool = Pool.from_dataset(Dataset.from_dict({"source": ["one", "two"]}), Generation())
    rows = [{"id": name, "source": name, "audit": False} for name in ("one", "two")]
    oracle = Assisted(Annotator(Endpoint(server.url, "m", prices={"input": 1.0}), pool.task), 0.0)
    answers = [oracle._answer(pool, row, *said) for row, said in zip(rows, oracle.annotator.ask(rows), strict=True)]
    assert all(answer.skipped and answer.label is None and answer.price for answer in answers)
    assert "half a character" in caplog.text


def test_people_check_a_share_and_the_two_are_never_mixed_up(tmp_path, tiny_model, server):
    config = write_project(tmp_path, tiny_model, server, annotator={"check": 0.5})
    outcome = run_config(load_config(config), lambda *_: None)
    assert outcome.waiting == 0
    work = open_work(tmp_path / "run")
    waiting = work.missing()
    assert 1 <= len(waiting) <= 9
    desk = Desk(tmp_path / "run")
    said = desk.start("ann")
    while said["row"]:
        assert said["row"]["id"] in waiting
        said = desk.answer("ann", {"id": said["row"]["id"], "label": "good", "seconds": 1.0})
    desk.close()
    run_config(load_config(config), lambda *_: None)
    rows = {r["id"]: r for r in pq.read_table(tmp_path / "run/rounds/0000/labels.parquet").to_pylist()}
    for row in rows.values():
        by_ann = row["id"] in waiting
        assert row["annotator"] == ("ann" if by_ann else "model:big-one")
        assert row["source"] == ("page" if by_ann else "model")
        assert row["label"] == "good" or not by_ann
    kept = Answers(tmp_path / "run/rounds/0000/model").current()
    assert set(kept) == set(waiting)
    lines = "\n".join(status_lines(open_run(tmp_path / "run")))
    assert f"of {len(waiting)} row" in lines and "people say the same as the model in" in lines


def test_a_persons_label_stands_for_the_models(tmp_path, tiny_model, server):
    from hfal.labeling.importing import import_file

    config = write_project(tmp_path, tiny_model, server, annotator={"check": 0.3})
    run_config(load_config(config), lambda *_: None)
    work = open_work(tmp_path / "run")
    lines = [{"id": name, "label": "bad", "annotator": "ben"} for name in work.rows]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    import_file(tmp_path / "run", tmp_path / "mine.jsonl")
    run_config(load_config(config), lambda *_: None)
    rows = pq.read_table(tmp_path / "run/rounds/0000/labels.parquet").to_pylist()
    assert {(r["label"], r["annotator"]) for r in rows} == {("bad", "ben")}


def test_audited_rows_are_for_people(tmp_path, tiny_model, server):
    config = write_project(tmp_path, tiny_model, server, audit=0.5)
    assert run_config(load_config(config), lambda *_: None).waiting == 0
    work = open_work(tmp_path / "run")
    assert {work.rows[name]["audit"] for name in work.missing()} == {True}
    assert len(work.missing()) == sum(row["audit"] for row in work.rows.values())


def test_a_busy_endpoint_is_asked_again_and_nothing_is_paid_twice(tmp_path, tiny_model, server):
    config = load_config(write_project(tmp_path, tiny_model, server, batch={"rows": 20}, budget={"rows": 40}))
    server.fail = [429, 500, 503]
    server.fail += [200] * 17 + [401]  # the first 16 are on disk, then the key is refused
    with pytest.raises(HfalError, match=r"refuses model big-one: status 401 \(its key is read from MY_KEY\)") as told:
        run_config(config, lambda *_: None)
    assert KEY not in str(told.value)
    before = len(server.asked)
    run_config(config, lambda *_: None)
    assert len(server.asked) - before == 40 - 16


def test_an_endpoint_that_is_down_or_says_something_else_is_one_line(server):
    server.fail = [500] * 5
    with pytest.raises(HfalError, match=r"does not answer \(status 500, 5 tries\)"):
        Endpoint(server.url, "m").answer(["x"])
    with pytest.raises(HfalError, match="does not answer"):
        Endpoint("http://127.0.0.1:9/v1", "m").answer(["x"])


class Parrot:
    name = "parrot"

    def __init__(self, *texts):
        self.texts = list(texts)

    def answer(self, prompts):
        return [Said(self.texts.pop(0)) for _ in prompts]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("good", "good"),
        ("  **Good**. ", "good"),
        ("The label is good, I think.", "good"),
        ("good or bad", None),
        ("goodness", None),
        ("", None),
        ("🙂", None),
    ],
)
def test_a_label_is_read_out_of_what_is_said_or_none_is(text, label):
    assert Annotator(Parrot(text), TASK).ask([{"text": "x {y}"}])[0][0] == label


def test_names_inside_of_names_and_several_labels():
    task = TextClassification(label_names=["food", "fast food", "none of it"])
    assert Annotator(Parrot("It is fast food"), task).ask([{"text": "x"}])[0][0] == "fast food"
    many = TextClassification(label_names=NAMES, multi_label=True)
    asked = Annotator(Parrot("Good, bad", "none", "good, other"), many).ask([{"text": "x"}] * 3)
    assert [label for label, _ in asked] == [["good", "bad"], [], None]


def test_templates_name_columns_and_nothing_else():
    pairs = Pairs(label_names=["no", "yes"])
    filled = Annotator(Parrot(), pairs, "{left} / {right}? {labels}")._fill({"left": "{a}", "right": "b"})
    assert filled == "{a} / b? no, yes"
    for prompt, message in (("{texts}", "{texts} is not one of text"), ("{text", "is no template")):
        with pytest.raises(HfalError, match=message):
            Annotator(Parrot(), TASK, prompt).check()
    with pytest.raises(HfalError, match="not the words of token_classification"):
        Annotator(Parrot(), TokenClassification(label_names=["O", "B-x", "I-x"])).check()
    vqa = VisualQuestionAnswering(label_names=["a", "b"])
    with pytest.raises(HfalError, match="column 'image' holds pictures"):
        Annotator(Parrot(), vqa).ask([{"image": {"bytes": drawn("red"), "path": None}, "question": "?"}])


def test_which_rows_people_check_follows_from_their_ids():
    some, others = (Assisted(Annotator(Parrot(), TASK), share) for share in (0.3, 0.6))
    ids = [f"row{n}" for n in range(2000)]
    first, second = ({i for i in ids if oracle.to_check(i)} for oracle in (some, others))
    assert first < second and 500 < len(first) < 700


def test_a_local_model_answers_within_its_bounds(tmp_path):
    for kind in ("t5", "llama"):
        model = LocalModel(save_tiny_writer(tmp_path / kind, kind), max_new_tokens=5)
        said = model.answer(["the film was sad", "a phone"])
        assert len(said) == 2 and all(isinstance(one.text, str) and one.price is None for one in said)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotator": None}, "oracle: model and annotator"),
        ({"oracle": "simulated"}, "oracle: model and annotator"),
        ({"annotator": {"model": "m", "endpoint": "ftp://x"}}, "endpoint"),
        ({"annotator": {"model": "m", "api_key": "sk"}}, "api_key"),
        ({"repeats": 2}, "people label a run once"),
    ],
)
def test_impossible_settings_are_one_line(changes, message):
    base = {
        "output_dir": "x",
        "pool": {"source": "a.csv"},
        "learner": {"model": "m"},
        "oracle": "model",
        "annotator": {"model": "m"},
        "budget": {"rows": 3},
        "batch": {"rows": 1},
    }
    with pytest.raises(HfalError, match=message):
        check_config(base | changes)
