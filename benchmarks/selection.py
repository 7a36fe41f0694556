"""Selection against small-text 1.4.1 and scikit-activeml 1.0.1, and against memory bandwidth."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.timing import Row, best, peak_megabytes, seconds
from hfal import functional as F


def kcenter() -> Iterator[Row]:
    """100 of 20,000 x 384, 500 centres, against two peers; the picks must agree."""
    rng = np.random.default_rng(0)
    pool = rng.standard_normal((20_000, 384)).astype(np.float32)
    centers = rng.standard_normal((500, 384)).astype(np.float32)
    everything = np.concatenate((centers, pool))
    ours = best(lambda: F.kcenter_greedy(torch.from_numpy(pool), 100, torch.from_numpy(centers)))
    picks = F.kcenter_greedy(torch.from_numpy(pool), 100, torch.from_numpy(centers)).tolist()
    work = "kcenter_greedy, 100 of 20,000 x 384, 500 centres"
    try:
        from small_text.query_strategies.coresets import greedy_coreset

        unlabeled, labeled = np.arange(500, 20_500), np.arange(500)
        peer = best(lambda: greedy_coreset(everything, unlabeled, labeled, 100, distance_metric="euclidean"), 1)
        yield (
            work,
            seconds(ours),
            f"small-text greedy_coreset {seconds(peer)}",
            f"{peer / ours:.0f}x faster",
            "25x",
        )
    except ImportError:
        yield work, seconds(ours), "small-text is not installed", "-", "25x"
    try:
        from skactiveml.pool import CoreSet

        y = np.full(len(everything), np.nan)
        y[:500] = 0
        strategy = CoreSet(random_state=0)
        theirs = strategy.query(X=everything, y=y, batch_size=100)
        peer = best(lambda: strategy.query(X=everything, y=y, batch_size=100), 2)
        same = len({int(i) - 500 for i in theirs} & set(picks))
        yield (
            work,
            seconds(ours),
            f"scikit-activeml CoreSet {seconds(peer)} ({same} of 100 picks the same)",
            f"{peer / ours:.1f}x faster",
            "2.5x",
        )
    except ImportError:
        yield work, seconds(ours), "scikit-activeml is not installed", "-", "2.5x"


def badge() -> Iterator[Row]:
    """100 of 20,000 x 384, 20 classes: time and memory."""
    torch.manual_seed(0)
    embeddings, logits = torch.randn(20_000, 384), torch.randn(20_000, 20)

    def ours() -> None:
        F.badge(embeddings, logits, 100, torch.Generator().manual_seed(0))

    work = "badge, 100 of 20,000 x 384, 20 classes"
    memory = max(1.0, peak_megabytes(ours))  # before the timing warms the allocator up
    time_ = best(ours)
    try:
        from skactiveml.classifier import SklearnClassifier
        from skactiveml.pool import Badge
        from sklearn.base import BaseEstimator, ClassifierMixin
    except ImportError:
        yield work, seconds(time_), "scikit-activeml is not installed", "-", "40x"
        return

    class Fixed(ClassifierMixin, BaseEstimator):
        """A classifier whose probabilities are given."""

        classes_ = np.arange(20)

        def fit(self, X: object, y: object) -> Fixed:  # noqa: N803
            return self

        def predict_proba(self, X: object) -> np.ndarray:  # noqa: N803
            return torch.softmax(logits, 1).numpy()[: len(X)]  # type: ignore[arg-type]

    everything = np.concatenate((embeddings.numpy(), embeddings.numpy()[:20]))
    y = np.full(len(everything), np.nan)
    y[-20:] = np.arange(20)
    classifier = SklearnClassifier(Fixed(), classes=np.arange(20)).fit(everything, y)

    def theirs() -> None:
        Badge(random_state=0).query(everything, y, classifier, fit_clf=False, batch_size=100)

    peer, peer_memory = best(theirs, 1), peak_megabytes(theirs)
    yield work, seconds(time_), f"scikit-activeml Badge {seconds(peer)}", f"{peer / time_:.0f}x faster", "40x"
    yield (
        "its memory",
        f"{memory:.0f} MB",
        f"{peer_memory:.0f} MB",
        f"1/{peer_memory / memory:.0f}",
        "1/20",
    )


def bandwidth() -> Iterator[Row]:
    """kcenter over 1,000,000 x 384: no copy, against the time of reading the matrix 100 times."""
    with tempfile.NamedTemporaryFile() as handle:
        matrix = np.memmap(handle, dtype=np.float32, mode="w+", shape=(1_000_000, 384))
        rng = np.random.default_rng(0)
        for start in range(0, len(matrix), 50_000):
            matrix[start : start + 50_000] = rng.standard_normal((50_000, 384), dtype=np.float32)
        pool = torch.from_numpy(matrix)
        centers = torch.randn(20, 384)
        one_read = best(lambda: pool.sum(), 3)
        ours = best(lambda: F.kcenter_greedy(pool, 100, centers), 2)
        copied = peak_megabytes(lambda: F.kcenter_greedy(pool[:200_000], 100, centers))
    yield (
        "kcenter_greedy, 100 of 1,000,000 x 384",
        seconds(ours),
        f"100 reads at {1.536 / one_read:.1f} GB/s: {seconds(100 * one_read)}",
        f"{ours / (100 * one_read):.2f} of it",
        "at most 1.5",
    )
    yield (
        "its memory beyond the matrix, 200,000 x 384",
        f"{copied:.0f} MB",
        "the matrix: 307 MB",
        "-",
        "no copy",
    )


BENCHMARKS = {"kcenter": kcenter, "badge": badge, "bandwidth": bandwidth}
