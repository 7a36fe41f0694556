import re
from html.parser import HTMLParser

import pytest

from hfal import ActiveLearner, FrozenHead, HfalError, Pool, TextClassification
from hfal.evaluation import Curve
from hfal.report import open_run, write_report
from hfal.report.figures import Line, as_svg, draw_curves
from tests.conftest import NAMES


@pytest.fixture(scope="module")
def run(tmp_path_factory, rows, test_rows, tiny_model):
    folder = tmp_path_factory.mktemp("runs") / "mine"
    for place, strategy in ((folder, "margin"), (folder / "baseline", "random")):
        pool = Pool.from_dataset(rows, TextClassification(label_names=NAMES))
        options = {"test": test_rows, "budget": 40, "batch_size": 10, "output_dir": place}
        ActiveLearner(pool, FrozenHead(tiny_model), strategy, **options).run()
    write_report([folder])
    return folder


class Reader(HTMLParser):
    """Text, and what a page would load from elsewhere."""

    def __init__(self):
        super().__init__()
        self.text, self.outside, self.open = "", [], []

    def handle_starttag(self, tag, attrs):
        self.outside += [v for k, v in attrs if k in ("src", "href") and v and not v.startswith("#")]
        if tag not in ("meta", "br", "path", "use", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        self.text += data


def test_the_page_needs_no_network_and_shows_everything(run, rows):
    reader = Reader()
    page = (run / "report.html").read_text()
    reader.feed(page)
    assert reader.outside == []
    assert "@import" not in page and "url(http" not in page
    for heading in (
        "Learning curve",
        "Summary",
        "Labels needed",
        "Rounds",
        "Classes, after",
        "What was chosen",
        "Time by stage",
        "Configuration",
    ):
        assert heading in reader.text
    view = open_run(run)
    for row in view.asked(2):
        assert row["text"] in reader.text
    last = view.rounds[-1].metrics["macro_f1"]
    assert f"{last:.3f}" in reader.text
    assert re.search(r"torch \d+\.\d+", reader.text)


def test_random_is_drawn_beside_it(run):
    svg = (run / "curve.svg").read_text()
    assert "random" in (run / "report.html").read_text()
    assert svg.count("<svg") == 1
    view = open_run(run)
    assert [v.strategy for v in view.everything()] == ["margin", "random"]


def test_the_same_run_gives_the_same_page(run):
    before = (run / "report.html").read_bytes()
    write_report([run])
    assert (run / "report.html").read_bytes() == before


def test_several_runs_make_one_picture(run, tmp_path):
    write_report([run, run / "baseline"], tmp_path)
    assert "2 runs compared" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"


def test_several_seeds_are_drawn_as_mean_and_band():
    curves = [Curve((10, 20, 30), (0.5, 0.6, 0.7)), Curve((10, 20), (0.7, 0.8))]
    figure = draw_curves({"accuracy": [Line("margin", curves)]})
    (line,) = figure.axes[0].get_lines()
    assert line.get_xdata().tolist() == [10, 20]  # where both seeds have a score
    assert line.get_ydata().tolist() == pytest.approx([0.6, 0.7])
    assert len(figure.axes[0].collections) == 1
    assert as_svg(figure).startswith("<svg")


def test_what_is_no_run_or_has_no_score_is_refused(tmp_path, rows, tiny_model):
    with pytest.raises(HfalError, match="is not a run folder"):
        write_report([tmp_path / "nothing"])
    pool = Pool.from_dataset(rows, TextClassification(label_names=NAMES))
    ActiveLearner(pool, FrozenHead(tiny_model), budget=10, batch_size=10, output_dir=tmp_path / "run").run()
    with pytest.raises(HfalError, match="no scored round"):
        write_report([tmp_path / "run"])
