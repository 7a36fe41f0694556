"""The label page, as people use it."""

import json
import re
import urllib.error
import urllib.request

import pytest
import yaml
from datasets import Dataset

from hfal.config import load_config
from hfal.labeling import open_work
from hfal.labeling.desk import Desk
from hfal.labeling.page import serve
from hfal.running import run_config
from tests.labeling.conftest import made, rows_of, truth_of, waiting  # noqa: F401 - fixtures
from tests.labeling.test_desk import label_all
from tests.processes import forked, free_port
from tests.test_cli import hfal
from tests.test_vqa_run import for_people

pytestmark = pytest.mark.slow


@pytest.fixture
def page_of(waiting):  # noqa: F811
    """A page served from this process, over a waiting round."""
    desks = []

    def make(folder):
        desks.append(Desk(folder))
        return serve(desks[-1], port=free_port())

    yield make
    import gradio

    gradio.close_all(verbose=False)
    for desk in desks:
        desk.close()


def answers_on_disk(folder):
    path = next(folder.glob("rounds/*/answers/page.jsonl"), None)
    return [] if path is None else [json.loads(line) for line in path.read_text().splitlines()]


def progress(page):
    return page.inner_text(".hfal .progress")


def press(page, key):
    """A key, and the next row."""
    before = progress(page)
    page.keyboard.press(key)
    page.wait_for_function("before => document.querySelector('.hfal .progress').textContent != before", arg=before)


def test_a_round_is_labelled_by_keyboard(page_of, open_page, waiting):  # noqa: F811
    folder, truth = waiting(), truth_of("text")
    page = open_page(page_of(folder))
    for number in range(12):
        text = page.inner_text(".hfal .row")
        assert f"{number} of 12" in progress(page)
        press(page, str(["bad", "fine", "good"].index(truth[text]) + 1))
        kept = answers_on_disk(folder)
        assert len(kept) == number + 1 and kept[-1]["label"] == truth[text], "on disk before the next row is shown"
        assert kept[-1]["annotator"] == "Ann" and 0 < kept[-1]["seconds"] < 60
    assert "Round 0 is done" in page.inner_text(".hfal .row")
    assert open_work(folder).missing() == []


def test_undo_skip_flag_and_time_left(page_of, open_page, waiting):  # noqa: F811
    folder = waiting()
    page = open_page(page_of(folder))
    first = page.inner_text(".hfal .row")
    press(page, "1")
    assert re.search("1 of 12 rows · about", progress(page))
    press(page, "Backspace")
    assert page.inner_text(".hfal .row") == first
    assert page.get_attribute(".hfal .labels button:first-child", "aria-pressed") == "true", "what it was is marked"
    page.keyboard.press("f")
    press(page, "s")
    kept = answers_on_disk(folder)
    assert [line["withdrawn"] for line in kept] == [False, True, False]
    assert kept[-1]["skipped"] and kept[-1]["flagged"] and kept[-1]["label"] is None


def test_several_labels_are_toggled_and_sent(page_of, open_page, waiting):  # noqa: F811
    folder = waiting("multi")
    page = open_page(page_of(folder))
    for key in "1321":
        page.keyboard.press(key)
    press(page, "Enter")
    press(page, "Enter")
    assert [line["label"] for line in answers_on_disk(folder)] == [["fine", "good"], []]


def test_entities_by_keyboard_and_by_mouse(page_of, open_page, waiting):  # noqa: F811
    folder = waiting("words")
    page = open_page(page_of(folder))
    for key in ("ArrowRight", "Shift+ArrowRight", "1"):
        page.keyboard.press(key)
    press(page, "Enter")
    assert answers_on_disk(folder)[0]["label"][:4] == ["O", "B-bad", "I-bad", "O"]
    words = page.query_selector_all(".hfal .row b[data-word]")
    one, other = words[1].bounding_box(), words[3].bounding_box()
    page.mouse.move(one["x"] + 4, one["y"] + 8)
    page.mouse.down()
    page.mouse.move(other["x"] + 4, other["y"] + 8, steps=4)
    page.mouse.up()
    page.click(".hfal .labels button:nth-child(2)")
    assert page.inner_text(".hfal .row i.kind") == "good"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Delete")
    assert page.query_selector(".hfal .row i.kind") is None
    page.keyboard.press("2")
    press(page, "Enter")
    tags = answers_on_disk(folder)[1]["label"]
    assert tags.count("B-good") == 1 and tags.count("I-good") == 0, "the span of three was taken back, one word marked"


def test_words_after_emoji_are_drawn_whole(page_of, open_page, tmp_path, tiny_model):
    words = ["👍🏽", "very", "𝒢ood", "phone", "🎬", "indeed"]
    rows = [{"tokens": [*words, f"no{n}"], "tags": ["O"] * 7} for n in range(20)]
    Dataset.from_list(rows).to_json(tmp_path / "rows.jsonl")
    config = {
        "output_dir": str(tmp_path / "run"),
        "pool": {"source": str(tmp_path / "rows.jsonl")},
        "task": {"type": "token_classification", "tags": "tags", "label_names": ["O", "B-good", "I-good"]},
        "learner": {"type": "frozen_head", "model": tiny_model},
        "strategy": "mnlp",
        "oracle": "people",
        "budget": {"rows": 10},
        "batch": {"rows": 5},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    run_config(load_config(tmp_path / "config.yaml"), lambda part, done: None)
    page = open_page(page_of(tmp_path / "run"))
    drawn = [word.inner_text() for word in page.query_selector_all(".hfal .row b[data-word]")]
    assert drawn[:6] == words and drawn[6].startswith("no")
    assert page.inner_text(".hfal .row p") == " ".join(drawn)


def test_the_suggestion_is_marked_and_taken_by_enter(page_of, open_page, waiting):  # noqa: F811
    folder = waiting()
    desk = Desk(folder)
    label_all(desk)
    desk.close()
    run_config(load_config(folder), lambda part, done: None)
    page = open_page(page_of(folder))
    for _ in range(12):
        row = next(r for r in rows_of(folder) if r["text"] == page.inner_text(".hfal .row"))
        why = page.inner_text(".hfal .why")
        if row["audit"]:
            assert "to measure quality" in why and page.query_selector(".hfal .labels .guess") is None
            press(page, "1")
        else:
            assert "margin>kmeans" in why and "% sure" in why
            assert page.inner_text(".hfal .labels .guess").startswith(row["predicted"])
            press(page, "Enter")
            kept = [json.loads(x) for x in (folder / "rounds/0001/answers/page.jsonl").read_text().splitlines()]
            assert kept[-1]["label"] == row["predicted"]


def test_a_reload_in_the_middle_goes_on_where_it_was(page_of, open_page, waiting):  # noqa: F811
    folder = waiting()
    page = open_page(page_of(folder))
    press(page, "1")
    press(page, "2")
    shown = page.inner_text(".hfal .row")
    page.reload()
    page.wait_for_selector(".hfal .row p")
    assert page.inner_text(".hfal .row") == shown and "2 of 12" in progress(page)
    press(page, "3")
    assert [line["label"] for line in answers_on_disk(folder)] == ["bad", "fine", "good"]


def test_a_server_killed_in_the_middle_loses_nothing(served, open_page, waiting):  # noqa: F811
    folder = waiting()
    server = served(folder)
    page = open_page(server.address)
    press(page, "1")
    server.kill()
    page.keyboard.press("2")
    page.wait_for_selector(".hfal .trouble:visible")
    assert "kept here" in page.inner_text(".hfal .trouble")
    server.start()
    page.wait_for_function("document.querySelector('.hfal .progress').textContent.includes('2 of 12')")
    assert not page.is_visible(".hfal .trouble")
    press(page, "3")
    assert [line["label"] for line in answers_on_disk(folder)] == ["bad", "fine", "good"]


def test_an_answer_that_could_not_be_sent_outlives_the_browser_tab(served, open_page, waiting):  # noqa: F811
    folder = waiting()
    server = served(folder)
    page = open_page(server.address)
    server.kill()
    page.keyboard.press("2")
    page.wait_for_selector(".hfal .trouble:visible")
    server.start()
    page.reload()
    page.wait_for_function("(document.querySelector('.hfal .progress')||{}).textContent?.includes('1 of 12')")
    assert [line["label"] for line in answers_on_disk(folder)] == ["fine"]


def test_two_browsers_at_once(page_of, open_page, waiting):  # noqa: F811
    folder = waiting()
    address = page_of(folder)
    one, other = open_page(address, "Ann"), open_page(address, "Bob")
    seen = {"Ann": [], "Bob": []}
    for _ in range(6):
        for name, page in (("Ann", one), ("Bob", other)):
            seen[name].append(page.inner_text(".hfal .row"))
            press(page, "1")
    assert not set(seen["Ann"]) & set(seen["Bob"]) and len(set(seen["Ann"] + seen["Bob"])) == 12
    assert len(answers_on_disk(folder)) == 12


def test_two_browsers_with_overlap_get_the_same_rows(page_of, open_page, waiting):  # noqa: F811
    address = page_of(waiting(overlap=2))
    one, other = open_page(address, "Ann"), open_page(address, "Bob")
    assert one.inner_text(".hfal .row") == other.inner_text(".hfal .row")


HOSTILE = [
    "<img src=x onerror=\"document.title='hacked'\"> <script>document.title='hacked'</script>",
    "هذا الفيلم رائع جدا، شكرا لكم 🎬",
    "😀👩‍👩‍👧‍👦🏳️‍🌈 emoji and a very" + "long" * 80 + "word",
    "{{value}} ${alert(1)} `backticks` & entities &lt;b&gt;",
    "שלום עולם hello mixed 123",
    "line one\nline two\n\tindented",
    "a text of very many words " * 1000,
]


@pytest.fixture
def hostile(tmp_path, tiny_model):
    texts = [f"{HOSTILE[n % len(HOSTILE)]} {n}" for n in range(48)]
    Dataset.from_dict({"text": texts}).to_json(tmp_path / "rows.jsonl")
    config = {
        "output_dir": str(tmp_path / "run"),
        "pool": {"source": str(tmp_path / "rows.jsonl")},
        "task": {"type": "text_classification", "label_names": ["<b>bold</b>", "لطيف", "🙂"]},
        "learner": {"type": "frozen_head", "model": tiny_model},
        "oracle": "people",
        "start": {"strategy": "random", "rows": 24},
        "budget": {"rows": 36},
        "batch": {"rows": 12},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    run_config(load_config(tmp_path / "config.yaml"), lambda part, done: None)
    return tmp_path / "run"


def test_texts_are_data_on_a_phone_and_in_the_dark(page_of, open_page, hostile):
    address = page_of(hostile)
    phone = {"viewport": {"width": 360, "height": 640}, "color_scheme": "dark", "has_touch": True, "is_mobile": True}
    page = open_page(address, "نور", **phone)
    shown = {row["text"] for row in rows_of(hostile)}
    for _ in range(len(shown)):
        assert page.evaluate("document.querySelector('.hfal .row p').textContent") in shown
        assert page.query_selector(".hfal .row img, .hfal .row script, .hfal .labels b") is None
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, "nothing is wider than a phone"
        first = page.query_selector(".hfal .labels button")
        assert first.bounding_box()["y"] < 640, "a long text scrolls in its own frame"
        assert first.bounding_box()["height"] >= 44
        press(page, "2")
    assert page.title() != "hacked"
    back, ink = page.evaluate(
        "[getComputedStyle(document.querySelector('.hfal .card')).backgroundColor,"
        "getComputedStyle(document.querySelector('.hfal .row')).color]"
    )
    assert brightness(back) < 80 < 160 < brightness(ink), (back, ink)
    assert {line["label"] for line in answers_on_disk(hostile)} == {"لطيف"}


def brightness(color):
    numbers = [float(part) for part in re.findall(r"[\d.]+", color)[:3]]
    return sum(numbers) / 3 * (255 if "srgb" in color or max(numbers) <= 1 else 1)


def test_right_to_left_text_runs_from_the_right(page_of, open_page, hostile):
    page = open_page(page_of(hostile))
    for _ in range(24):
        text = page.inner_text(".hfal .row")
        if text.startswith("هذا"):
            assert page.evaluate("getComputedStyle(document.querySelector('.hfal .row p')).direction") == "rtl"
            return
        press(page, "1")
    raise AssertionError("no such row was asked")


def test_a_password_keeps_others_out(served, browser, waiting):  # noqa: F811
    folder = waiting()
    server = served(folder, HFAL_PASSWORD="correct horse")
    body = json.dumps({"data": {"who": "eve"}, "fn_name": "start", "component_id": 1, "session_hash": "x"}).encode()
    for path in ("component_server/", "gradio_api/component_server/"):
        asked = urllib.request.Request(server.address + path, body, {"Content-Type": "application/json"}, method="POST")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(asked, timeout=10)
        assert refused.value.code in (401, 404, 405)
    page = browser.new_context().new_page()
    page.goto(server.address)
    page.wait_for_selector("input[type=password]")
    assert page.query_selector(".hfal") is None
    page.fill("input >> nth=0", "Ann")
    page.fill("input[type=password]", "wrong horse")
    page.keyboard.press("Enter")
    page.wait_for_timeout(700)
    assert page.query_selector(".hfal") is None
    page.fill("input >> nth=0", "Ann")
    page.fill("input[type=password]", "correct horse")
    page.keyboard.press("Enter")
    page.wait_for_selector(".hfal .row p")
    press(page, "1")
    assert answers_on_disk(folder)[0]["annotator"] == "Ann"
    server.kill()
    server.start()  # it knows nobody any more
    page.keyboard.press("2")
    page.wait_for_function("document.querySelector('.hfal .trouble').textContent.includes('logged out')")
    page.reload()
    page.fill("input >> nth=0", "Ann")
    page.fill("input[type=password]", "correct horse")
    page.keyboard.press("Enter")
    page.wait_for_function("(document.querySelector('.hfal .progress')||{}).textContent?.includes('2 of 12')")
    assert [line["label"] for line in answers_on_disk(folder)] == ["bad", "fine"]


def test_what_should_not_happen_is_told_and_the_page_lives_on(page_of, open_page, waiting, monkeypatch):  # noqa: F811
    page = open_page(page_of(waiting()))
    with monkeypatch.context() as broken:
        broken.setattr(Desk, "_record", lambda *given: 1 / 0)
        page.keyboard.press("1")
        page.wait_for_function("document.querySelector('.hfal .trouble').textContent.includes('went wrong')")
        page.wait_for_timeout(500)  # keys that are pressed while the page waits for the server are not taken
    press(page, "1")
    assert "1 of 12" in progress(page)


def test_beyond_this_machine_only_with_a_password(waiting):  # noqa: F811
    folder = waiting()
    done = hfal("label", folder, "--host", "0.0.0.0")
    assert done.returncode == 2 and "HFAL_PASSWORD" in done.stderr


def test_the_loop_goes_on_beside_the_page(open_page, waiting, tmp_path):  # noqa: F811
    folder, port, truth, log = waiting(), free_port(), truth_of("text"), tmp_path / "log"
    loop = forked("loop", folder, "--label", "--port", port, said=log)
    try:
        for _ in range(600):
            if log.exists() and "Label here" in log.read_text():
                break
            assert loop.is_alive(), log.read_text()
            page_wait(0.1)
        page = open_page(f"http://127.0.0.1:{port}/")
        for number in range(36):
            page.wait_for_function(
                "n => document.querySelector('.hfal .progress').textContent.startsWith(n)",
                arg=f"Round {number // 12}: {number % 12} of",
                timeout=60_000,
            )
            text = page.inner_text(".hfal .row")
            page.keyboard.press(str(["bad", "fine", "good"].index(truth[text]) + 1))
        loop.join(60)
        assert loop.exitcode == 0, log.read_text()
    finally:
        loop.kill()
    assert "spent     36 of 36" in hfal("status", folder).stdout


def page_wait(seconds):
    import time

    time.sleep(seconds)


def test_answers_about_pictures_are_typed(page_of, open_page, tmp_path, tiny_model):
    folder = for_people(tmp_path, tiny_model)
    page = open_page(page_of(folder))
    picture = page.locator(".hfal .row img")
    assert (picture.get_attribute("alt"), picture.evaluate("i => i.naturalWidth")) == ("image", 24)
    options = page.evaluate("() => [...document.querySelectorAll('#hfal-answers option')].map((o) => o.value)")
    assert options == ["blue", "green", "no", "red", "yes"]
    page.keyboard.press("Enter")  # nothing typed: nothing sent
    for text in ["yes", "safe fallback", "🙂 <b>no</b>"]:  # s and f are letters here, not keys
        page.keyboard.type(text)
        press(page, "Enter")
    assert [answer["label"] for answer in answers_on_disk(folder)] == [["yes"], ["safe fallback"], ["🙂 <b>no</b>"]]
    page.click("[data-do=undo]")
    page.wait_for_function("() => document.querySelector('#hfal-answer').value === '🙂 <b>no</b>'")
