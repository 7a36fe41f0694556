"""The Hub fails at each request of a push in turn: afterwards, or after the same command again, the round is there
once and whole."""

import shutil
import threading

import huggingface_hub.utils._http as http
import pytest

from hfal.errors import HfalError
from hfal.hub import push
from tests.hub.server import Fault

NAME = "team/run"
KINDS = ["500", "503", "429", "412", "reset", "stall", "lost"]


def share(folder):
    return push(folder, NAME, licence="mit", ask=lambda question: True)


def whole(hub):
    """Each round once, with all its files, tagged."""
    repo = hub.repos[NAME]
    messages = [commit.message for commit in repo.commits[1:]]
    assert messages == ["Round 0: labelled", "Round 1: labelled", "Round 2: 12 rows to label"]
    assert sorted(repo.tags) == ["round-0000", "round-0001"]
    files = repo.head.files
    for number, splits in ((0, 2), (1, 2), (2, 1)):
        assert sum(path.startswith(f"rounds/{number:04d}/") for path in files) == splits
    assert all(
        files[path] == content for path, content in repo.at("round-0000").files.items() if path.startswith("rounds/")
    )
    return True


@pytest.fixture
def impatient(hub, monkeypatch):
    """Clients that wait, but not in earnest."""
    monkeypatch.setattr(http.time, "sleep", lambda seconds: None)
    hub.stall = 0.05
    return hub


@pytest.mark.parametrize("kind", KINDS)
def test_a_push_survives_a_failure_at_any_request(impatient, shared, kind):
    hub, folder = impatient, shared()
    for number in (1, 2):  # one finished round is left
        shutil.rmtree(folder / "rounds" / f"{number:04d}")
    share(folder)
    requests = len(hub.requests)
    assert requests > 10
    for at in range(requests):
        hub.repos.clear()
        hub.blobs.clear()
        hub.requests.clear()
        hub.faults[:] = [Fault(kind, at=at)]
        try:
            share(folder)
        except HfalError as error:
            assert "run the same command again" in str(error) or kind == "412", error
            share(folder)
        repo = hub.repos[NAME]
        assert [commit.message for commit in repo.commits[1:]] == ["Round 0: labelled"], (kind, at)
        assert repo.tags == {"round-0000": repo.head.oid}, (kind, at)
        assert sum(path.startswith("rounds/0000/") for path in repo.head.files) == 2


@pytest.mark.parametrize("kind", ["500", "reset"])
def test_a_hub_that_is_down_loses_nothing(impatient, shared, kind):
    hub, folder = impatient, shared()
    hub.faults[:] = [Fault(kind, path="/commit/", times=100)]
    with pytest.raises(HfalError, match="nothing is lost, run the same command again"):
        share(folder)
    hub.faults.clear()
    share(folder)
    assert whole(hub)


def test_retry_after_is_waited_for(impatient, shared, monkeypatch):
    hub, folder, waits = impatient, shared(), []
    monkeypatch.setattr("hfal.hub.repo.sleep", waits.append)
    hub.faults[:] = [Fault("429", path="/commit/")]
    share(folder)
    assert waits == [1.0] and whole(hub)


def test_two_machines_pushing_the_same_round_one_wins(impatient, shared):
    hub = impatient
    folders, told = [shared(name="one"), shared(name="two")], []
    import pyarrow.parquet as pq

    path = folders[1] / "rounds" / "0000" / "selection.parquet"  # chosen otherwise on the second machine
    table = pq.read_table(path)
    pq.write_table(table.take(list(reversed(range(len(table))))), path)
    barrier = threading.Barrier(2)

    def run(folder):
        barrier.wait()
        try:
            share(folder)
            told.append(None)
        except HfalError as error:
            told.append(str(error))

    threads = [threading.Thread(target=run, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one is None for one in told) == 1
    assert "has another round 0" in next(one for one in told if one is not None)
    assert whole(hub)


def test_two_machines_with_the_same_run_push_it_once(impatient, shared):
    hub = impatient
    folders = [shared(name="one"), shared(name="two")]
    threads = [threading.Thread(target=share, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert whole(hub)
