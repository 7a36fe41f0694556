"""Other packages' own functions on the same inputs: how many picks agree.

    .venv-bench/bin/python -m benchmarks.peers

2,000 rows of 32 dimensions in groups, 30 labelled, 4 classes, 20 samples; batches of 20. What differs, and why, is in
docs/peers.md.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.strategies import clustered
from hfal import functional as F

setattr(np, "Inf", np.inf)  # noqa: B010 - bmdal_reg was written for numpy 1
warnings.filterwarnings("ignore")
ROWS, LABELLED, DIMS, CLASSES, SIZE = 2000, 30, 32, 4, 20


def inputs() -> dict[str, torch.Tensor]:
    """The same for all."""
    torch.manual_seed(0)
    head = torch.randn(DIMS, CLASSES) * 3
    pool, labeled = clustered(ROWS, DIMS, 20), clustered(LABELLED, DIMS, 20, seed=1)
    samples = torch.stack([pool @ (head + torch.randn(DIMS, CLASSES)) for _ in range(20)])
    return {
        "pool": pool,
        "labeled": labeled,
        "logits": pool @ head,
        "labeled_logits": labeled @ head,
        "samples": samples,
    }


def same(ours: Any, theirs: Any) -> str:
    """`20 of 20`, and whether in the same order."""
    a, b = [int(i) for i in ours], [int(i) for i in theirs]
    order = ", in the same order" if a == b else ""
    return f"{len(set(a) & set(b))} of {len(a)}{order}"


def batchbald_redux(data: dict[str, torch.Tensor]) -> dict[str, Callable[[], str]]:
    """bald and batchbald."""
    import batchbald_redux.batchbald as peer

    log_p = torch.log_softmax(data["samples"], -1).transpose(0, 1).double().contiguous()
    return {
        "bald": lambda: same(
            F.top_k(F.bald(data["samples"]), SIZE), peer.get_bald_batch(log_p, SIZE, dtype=torch.double).indices
        ),
        "batchbald, 8 rows (exact in both)": lambda: same(
            F.batchbald(data["samples"], 8)[0],
            peer.get_batchbald_batch(log_p, 8, 100_000, dtype=torch.double).indices,
        ),
    }


def bmdal_reg(data: dict[str, torch.Tensor]) -> dict[str, Callable[[], str]]:
    """lcmd, Frank-Wolfe and bait over features."""
    from bmdal_reg.bmdal import selection
    from bmdal_reg.bmdal.feature_data import TensorFeatureData
    from bmdal_reg.bmdal.feature_maps import IdentityFeatureMap
    from bmdal_reg.bmdal.features import Features

    def features(rows: torch.Tensor) -> Features:
        return Features(IdentityFeatureMap(n_features=rows.shape[1]), TensorFeatureData(rows))

    def lcmd() -> str:
        pool, known = F.EuclideanSpace(data["pool"]), F.EuclideanSpace(data["labeled"])
        ours = F.lcmd(pool.norms, pool.distances_to, SIZE, *pool.nearest(known))
        peer = selection.LargestClusterMaxDistSelectionMethod(
            features(data["pool"]), features(data["labeled"]), sel_with_train=True, verbosity=0
        )
        return same(ours, peer.select(SIZE))

    def frank_wolfe() -> str:
        vectors = F.expected_log_likelihoods(data["samples"])
        peer = selection.FrankWolfeSelectionMethod(features(vectors), features(vectors[:0]), verbosity=0)
        return same(F.frank_wolfe(vectors, SIZE)[0], peer.select(SIZE))

    def bait() -> str:
        # one output that is as likely as not everywhere: each row's information is h h' / 4
        nothing = torch.zeros(ROWS, 1), torch.zeros(LABELLED, 1)
        ours = F.bait(
            data["pool"], nothing[0], SIZE, (data["labeled"], nothing[1]), multi_label=True, penalty=0.25, rank=DIMS
        )
        known = features(data["labeled"] / 2)
        peer = selection.BaitFeatureSpaceSelectionMethod(
            features(data["pool"] / 2),
            known,
            sel_with_train=True,
            noise_sigma=0.5,
            overselection_factor=2.0,
            verbosity=0,
        )
        return same(ours, peer.select(SIZE))

    return {"lcmd": lcmd, "frank_wolfe (acs_fw)": frank_wolfe, "bait": bait}


def scikit_activeml(data: dict[str, torch.Tensor]) -> dict[str, Callable[[], str]]:
    """prob_cover, maxherding, cal, typiclust."""
    import skactiveml.pool as peers
    from skactiveml.classifier import SklearnClassifier
    from sklearn.base import BaseEstimator, ClassifierMixin

    everything = torch.cat((data["labeled"], data["pool"]))
    y = np.full(len(everything), np.nan)
    y[:LABELLED] = np.arange(LABELLED) % CLASSES
    probabilities = torch.softmax(torch.cat((data["labeled_logits"], data["logits"])), -1).double().numpy()
    place = {row.tobytes(): i for i, row in enumerate(everything.numpy())}

    class Fixed(ClassifierMixin, BaseEstimator):
        """A classifier whose probabilities are given."""

        classes_ = np.arange(CLASSES)

        def fit(self, X: object, y: object) -> Fixed:  # noqa: N803
            return self

        def predict_proba(self, X: np.ndarray) -> np.ndarray:  # noqa: N803
            return probabilities[[place[row.tobytes()] for row in X.astype(np.float32)]]

    def query(strategy: Any, *arguments: Any, **options: Any) -> np.ndarray:
        found = strategy.query(everything.numpy(), y, *arguments, batch_size=SIZE, **options)
        return np.asarray(found) - LABELLED

    def cal() -> str:
        classifier = SklearnClassifier(Fixed(), classes=np.arange(CLASSES)).fit(everything.numpy(), y)
        scores = F.contrast(data["pool"], data["logits"], data["labeled"], data["labeled_logits"], 10)
        theirs = peers.ContrastiveAL(nearest_neighbors_dict={"n_neighbors": 10}, random_state=0)
        return same(F.top_k(scores, SIZE), query(theirs, classifier, fit_clf=False))

    def prob_cover() -> str:
        ours = F.prob_cover(data["pool"], SIZE, 0.9, data["labeled"])
        return same(ours, query(peers.ProbCover(n_classes=CLASSES, deltas=[0.9], random_state=0)))

    def maxherding() -> str:
        ours, _ = F.coverage_greedy(data["pool"], SIZE, F.rbf(1.0), None, data["labeled"])
        return same(ours, query(peers.MaxHerding(metric_dict={"gamma": 1.0}, random_state=0)))

    def typiclust() -> str:
        ours = F.typiclust(data["pool"], SIZE, data["labeled"], neighbours=5)
        return same(ours, query(peers.TypiClust(random_state=0)))

    return {"cal": cal, "prob_cover, radius 0.9": prob_cover, "maxherding": maxherding, "typiclust": typiclust}


def small_text(data: dict[str, torch.Tensor]) -> dict[str, Callable[[], str]]:
    """cal, as they have it."""
    from small_text.query_strategies import ContrastiveActiveLearning

    def cal() -> str:
        strategy = ContrastiveActiveLearning(k=10)
        everything = torch.cat((data["pool"], data["labeled"])).numpy()
        probabilities = torch.softmax(torch.cat((data["logits"], data["labeled_logits"])), -1).numpy()
        unlabeled, labeled = np.arange(ROWS), np.arange(ROWS, ROWS + LABELLED)
        theirs = strategy.sample(None, everything, unlabeled, labeled, None, SIZE, everything, probabilities)
        scores = F.contrast(data["pool"], data["logits"], data["labeled"], data["labeled_logits"], 10)
        return same(F.top_k(scores, SIZE), theirs)

    return {"cal": cal}


def main() -> None:
    """One line a method and package."""
    data = inputs()
    print("| method | package | picks that agree |\n|---|---|---|")
    for package in (batchbald_redux, bmdal_reg, scikit_activeml, small_text):
        for method, compare in package(data).items():
            print(f"| {method} | {package.__name__} | {compare()} |", flush=True)


if __name__ == "__main__":
    main()
