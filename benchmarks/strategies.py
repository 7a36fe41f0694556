"""The survey's strategies against their peers, in time and memory."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from benchmarks.timing import Row, best, peak_megabytes, seconds
from hfal import functional as F
from hfal.neighbours import Neighbours
from hfal.signals import Signals
from hfal.strategies import Context, parse

ROWS, DIMS, CLASSES = 20_000, 384, 10


def clustered(rows: int = ROWS, dims: int = DIMS, groups: int = 50, seed: int = 0) -> torch.Tensor:
    """Embeddings as encoders give them: of length 1, in groups."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(groups, dims, generator=generator)
    own = torch.randint(groups, (rows,), generator=generator)
    points = centers[own] + 0.8 * torch.randn(rows, dims, generator=generator)
    return torch.nn.functional.normalize(points, dim=1)


def batchbald() -> Iterator[Row]:
    """10 of 2,000, 20 samples, 4 classes: time, memory, and the picks that are exact in both."""
    torch.manual_seed(0)
    logits = torch.randn(20, 2000, 4) * 2
    work = "batchbald, 10 of 2,000, K = 20, C = 4"

    def ours() -> torch.Tensor:
        return F.batchbald(logits, 10, torch.Generator().manual_seed(0))[0]

    memory = peak_megabytes(ours)
    time_, picks = best(ours), ours().tolist()
    try:
        import batchbald_redux.batchbald as peer
    except ImportError:
        yield work, seconds(time_), "batchbald-redux is not installed", "-", "10x"
        return
    found: list[Any] = []
    log_p = torch.log_softmax(logits, -1).transpose(0, 1).double().contiguous()

    def theirs() -> None:
        found.append(peer.get_batchbald_batch(log_p, 10, 100_000, dtype=torch.double))

    times: list[float] = []
    peer_memory = peak_megabytes(lambda: times.append(best(theirs, 1)))
    same = next((i for i, (a, b) in enumerate(zip(picks, found[0].indices, strict=True)) if a != b), 10)
    yield (
        work,
        seconds(time_),
        f"batchbald-redux, 100,000 samples {seconds(times[0])} (the first {same} picks the same)",
        f"{times[0] / time_:.0f}x faster",
        "10x",
    )
    yield (
        "its memory",
        f"{memory:.0f} MB",
        f"{peer_memory:,.0f} MB",
        f"1/{peer_memory / memory:.0f}",
        "at most 1,000 MB",
    )


def of_20_000() -> Iterator[Row]:
    """100 of 20,000 x 384, 10 classes, 200 labelled: each strategy's selection alone, time and memory."""
    pool, labeled = clustered(), clustered(200, seed=1)
    torch.manual_seed(0)
    head = torch.randn(DIMS, CLASSES) * 3
    samples = torch.stack([head + torch.randn(DIMS, CLASSES) for _ in range(100)])
    for spec in ("bait", "acs_fw", "epig", "prob_cover", "cluster_margin", "typiclust"):
        strategy = parse(spec)
        count = getattr(strategy, "mc_samples", 0)
        context = _context(pool, labeled, head, samples[:count])

        def work(strategy: Any = strategy, context: Context = context) -> None:
            strategy.select(context, 100)

        times: list[float] = []
        memory = peak_megabytes(lambda work=work, times=times: times.append(best(work, 1)))
        what = f"{spec}, 100 of 20,000 x 384, 10 classes"
        yield what, f"{seconds(times[0])}, {memory:.0f} MB", "-", "-", "30 s, 1,500 MB"
    yield from _against_skactiveml(pool, labeled)


def _against_skactiveml(pool: torch.Tensor, labeled: torch.Tensor) -> Iterator[Row]:
    try:
        import skactiveml.pool as peers
    except ImportError:
        yield "prob_cover and typiclust", "-", "scikit-activeml is not installed", "-", "5x"
        return
    everything = torch.cat((labeled, pool)).numpy()
    y = np.full(len(everything), np.nan)
    y[: len(labeled)] = 0
    radius = F.ball_radius(pool, CLASSES)
    theirs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "prob_cover, radius given": (
            lambda: F.prob_cover(pool, 100, radius, labeled),
            lambda: peers.ProbCover(n_classes=CLASSES, deltas=[radius], random_state=0).query(
                everything, y, batch_size=100
            ),
        ),
        "typiclust": (
            lambda: F.typiclust(pool, 100, labeled),
            lambda: peers.TypiClust(random_state=0).query(everything, y, batch_size=100),
        ),
        "maxherding": (
            lambda: F.coverage_greedy(pool, 100, F.rbf(1.0), None, labeled),
            lambda: peers.MaxHerding(random_state=0, metric_dict={"gamma": 1.0}).query(everything, y, batch_size=100),
        ),
    }
    for name, (ours, peer) in theirs.items():
        mine, their = best(ours, 1), best(peer, 1)
        yield (
            f"{name}, 100 of 20,000 x 384",
            seconds(mine),
            f"scikit-activeml {seconds(their)}",
            f"{their / mine:.1f}x faster",
            "5x" if name != "maxherding" else "-",
        )


def _context(pool: torch.Tensor, labeled: torch.Tensor, head: torch.Tensor, samples: torch.Tensor) -> Context:
    def signals(rows: torch.Tensor, first: int) -> Signals:
        logits = rows @ head
        return Signals(
            rows=np.arange(first, first + len(rows)),
            embeddings=rows,
            features=rows,
            logits=logits,
            mc_logits=torch.einsum("nd,kdc->knc", rows, samples) if len(samples) else None,
            reduced={"Margin()": F.margin(logits)},
        )

    return Context(
        pool=signals(pool, len(labeled)),
        labeled=signals(labeled, 0),
        labels=[row % CLASSES for row in range(len(labeled))],
        num_classes=CLASSES,
        round=1,
        generator=torch.Generator().manual_seed(0),
    )


def nets() -> Iterator[Row]:
    """Small networks, trained and asked, 20,000 x 384, 200 labelled."""
    context = _context(clustered(), clustered(200, seed=1), torch.randn(DIMS, CLASSES), torch.empty(0))
    for spec in ("vaal", "discriminative", "waal", "tavaal"):
        time_ = best(lambda spec=spec: parse(spec).select(context, 100), 1)
        yield f"{spec}, 100 of 20,000 x 384", seconds(time_), "-", "-", "60 s"


def seals() -> Iterator[Row]:
    """badge among the neighbours of 1,000 labelled rows of 1,000,000 x 384: a round after the index, and the index."""
    with tempfile.TemporaryDirectory() as folder:
        matrix = np.memmap(f"{folder}/m", dtype=np.float32, mode="w+", shape=(1_000_000, DIMS))
        for start in range(0, len(matrix), 50_000):
            matrix[start : start + 50_000] = clustered(50_000, groups=500, seed=start)
        built: list[Neighbours] = []
        index_time = best(lambda: built.append(Neighbours.build(matrix, np.arange(len(matrix)))), 1)
        yield "faiss index of 1,000,000 x 384", seconds(index_time), "-", "-", "180 s"
        labeled = np.random.default_rng(0).choice(len(matrix), 1000, replace=False)
        head = torch.randn(DIMS, CLASSES) * 3
        pool = np.setdiff1d(np.arange(len(matrix)), labeled)

        def look(indices: torch.Tensor, _needs: Any) -> Context:
            return _of(torch.from_numpy(matrix[pool[indices.numpy()]]), pool[indices.numpy()], look)

        def _of(rows: torch.Tensor, names: np.ndarray, look: Any) -> Context:
            known = Signals(rows=np.sort(labeled))
            return Context(
                pool=Signals(rows=names, features=rows, logits=rows @ head if len(rows) else rows),
                labeled=known,
                labels=[i % CLASSES for i in range(len(labeled))],
                num_classes=CLASSES,
                round=1,
                generator=torch.Generator().manual_seed(0),
                look=look,
                index=lambda: built[0],
            )

        context = _of(torch.empty(0, DIMS), pool, look)
        sizes: list[int] = []

        def seen(indices: torch.Tensor, needs: Any) -> Context:
            sizes.append(len(indices))
            return look(indices, needs)

        counted = _of(torch.empty(0, DIMS), pool, seen)
        parse("seals(then=badge)").select(counted, 100)
        round_time = best(lambda: parse("seals(then=badge)").select(context, 100), 2)
        whole = best(lambda: parse("badge").select(look(torch.arange(len(pool)), None), 100), 1)
        yield (
            f"seals(then=badge), 100 of {sizes[0]:,} neighbours of 1,000 labelled among 1,000,000",
            seconds(round_time),
            f"badge over all {seconds(whole)}",
            f"{whole / round_time:.1f}x faster",
            "10 s",
        )


class OnDisk:
    """A float16 matrix in a file, read by slices; how often is counted."""

    def __init__(self, path: str, rows: int, dims: int) -> None:
        self.path, self.rows, self.dims, self.read = path, rows, dims, 0

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, part: slice) -> torch.Tensor:
        start, stop, _ = part.indices(self.rows)
        self.read += stop - start
        values = np.fromfile(self.path, np.float16, (stop - start) * self.dims, offset=start * self.dims * 2)
        return torch.from_numpy(values.reshape(-1, self.dims))


def on_disk() -> Iterator[Row]:
    """kcenter and margin>kmeans, 1,000 of 10,000,000 x 384 in float16 on disk: memory and reads of the file."""
    total = 10_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/matrix"
        with open(path, "wb") as handle:
            for seed in range(40):
                handle.write(clustered(total // 40, groups=500, seed=seed).half().numpy().tobytes())
        matrix = OnDisk(path, total, DIMS)
        times: list[float] = []
        memory = peak_megabytes(lambda: times.append(best(lambda: F.kcenter_blocks(matrix, 1000), 1)))
        yield (
            "kcenter, 1,000 of 10,000,000 x 384 in float16 on disk",
            f"{seconds(times[0])}, {memory:,.0f} MB",
            "the file: 7,680 MB",
            f"{matrix.read / total:.2f} reads of it",
            "4,000 MB, 2 reads",
        )
        matrix.read = 0
        scores = torch.rand(total, generator=torch.Generator().manual_seed(0))

        def margin_kmeans() -> None:
            reach = F.top_k(scores, 10_000).sort().values
            rows = torch.cat([matrix[slice(int(row), int(row) + 1)] for row in reach])
            F.kmeans_pick(rows, 1000)

        memory = peak_megabytes(lambda: times.append(best(margin_kmeans, 1)))
        yield (
            "margin>kmeans, the same",
            f"{seconds(times[1])}, {memory:,.0f} MB",
            "the file: 7,680 MB",
            f"{matrix.read / total:.3f} reads of it",
            "4,000 MB, 2 reads",
        )


logging.getLogger("hfal").setLevel(logging.ERROR)
BENCHMARKS = {"batchbald": batchbald, "of_20_000": of_20_000, "nets": nets, "seals": seals, "on_disk": on_disk}
