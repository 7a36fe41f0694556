"""What each strategy picks, on a toy of two dimensions: the pictures of docs/strategies.md.

    python -m benchmarks.pictures [--out docs/images]

300 rows in three classes: two that touch, one small one, a knot of near-copies between them, and three outliers. Nine
rows are labelled (squares), a softmax head is fitted on them (shades: the likeliest class, lighter where it is unsure),
and each strategy picks twelve (numbered in its order).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import to_rgb

from hfal.inference import as_signals, reducer
from hfal.neighbours import Neighbours
from hfal.signals import Needs
from hfal.strategies import Context, all_needs, parse, resolve
from hfal.strategies.heads import fit_head
from hfal.tasks import TextClassification

SIZE = 12
FAMILIES = {
    "uncertainty": [
        "random",
        "margin",
        "entropy",
        "expected_gradient_length",
        "deepfool(space=features)",
        "class_quota",
        "high_confidence_mix",
        "cal",
    ],
    "committees": [
        "bald",
        "power_bald",
        "softmax_bald(beta=20)",
        "batchbald",
        "acs_fw",
        "epig",
        "vote_entropy",
        "consensus_kl",
        "mean_std",
        "variation_ratio",
    ],
    "gradients": ["badge", "bait", "lcmd", "lcmd(space=embeddings)"],
    "coverage": [
        "kmeans",
        "coreset",
        "coreset_robust(outliers=0.02)",
        "farthest_first",
        "typiclust",
        "prob_cover",
        "maxherding",
        "uncertainty_herding",
        "weighted_kmeans",
        "cluster_margin",
        "information_density",
        "set_cover",
        "dictionary",
    ],
    "learned": ["discriminative", "vaal", "tavaal", "waal", "learning_loss", "multi_view"],
    "wrappers": [
        "margin>kmeans(prefilter=5)",
        "seals(then=margin, neighbours=12)",
        "anchoral(then=margin, anchors=2, neighbours=12, subpool=40)",
        "exploration(first=farthest_first, then=margin)",
        "exploration(then=margin, rounds=3, schedule=decay)",
    ],
}
COLOURS = ["#3b6fb6", "#c8553d", "#5a9e6f"]


def toy() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows [N, 2], their classes, and which nine are labelled."""
    generator = torch.Generator().manual_seed(4)

    def blob(count: int, x: float, y: float, spread: float) -> torch.Tensor:
        return torch.tensor([x, y]) + spread * torch.randn(count, 2, generator=generator)

    parts = [
        blob(150, -1.2, 0.0, 0.75),
        blob(105, 1.2, 0.3, 0.75),
        blob(20, 0.4, 2.6, 0.25),
        blob(22, 0.05, -0.9, 0.05),
    ]
    outliers = torch.tensor([[-3.6, 3.2], [3.8, -2.6], [3.6, 3.1]])
    rows = torch.cat((*parts, outliers))
    classes = torch.cat(
        [torch.full((n,), c) for n, c in ((150, 0), (105, 1), (20, 2), (22, 0), (1, 0), (1, 1), (1, 1))]
    )
    return rows, classes, torch.tensor([3, 17, 40, 80, 151, 170, 200, 255, 256])


def context_of(spec: str) -> tuple[Context, torch.Tensor]:
    """What a strategy sees of the toy, and the head's weights on (x, y, 1)."""
    rows, classes, known = toy()
    head, bias = fit_head(rows[known], classes[known], 3)
    generator = torch.Generator().manual_seed(1)
    noise = 1.2 * torch.randn(100, 3, 3, generator=generator)
    weights = torch.cat((head, bias[:, None]), 1)
    features = torch.cat((rows, torch.ones(len(rows), 1)), 1)
    task = TextClassification(label_names=["a", "b", "c"])
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]])
    strategy = parse(spec)
    samples = features @ (weights + noise).transpose(1, 2)  # [K, N, C]
    count = max(all_needs(strategy).mc_samples, 1)
    outputs: dict[str, Any] = {
        "logits": features @ weights.T,
        "embeddings": rows,
        "features": features,
        "mc_logits": samples[:count].transpose(0, 1),
        "hidden_states": torch.stack((torch.tanh(rows @ turn), rows), 1),
        "boundary": torch.rand(len(rows), generator=generator),
    }
    from hfal.functional import boundary_distance

    outputs["boundary"] = boundary_distance(outputs["logits"], weights)
    free = torch.tensor([row for row in range(len(rows)) if row not in set(known.tolist())])

    def seen(indices: torch.Tensor, needs: Needs) -> Context:
        def part(which: torch.Tensor, wanted: Needs) -> Any:
            signals = as_signals(reducer(wanted, task)({k: v[which] for k, v in outputs.items()}), task)
            return replace(signals, rows=which.numpy())

        return Context(
            pool=part(free[indices], needs),
            labeled=part(known, needs.for_labeled()),
            labels=classes[known].tolist(),
            num_classes=3,
            round=2,
            generator=generator,
            look=seen,
            index=lambda: Neighbours.build(rows.numpy(), np.arange(len(rows))),
        )

    return seen(torch.arange(len(free)), resolve(strategy, 2).needs), weights


def draw(axes: Any, spec: str) -> None:
    """One panel."""
    rows, classes, known = toy()
    context, weights = context_of(spec)
    chosen = resolve(parse(spec), 2).select(context, SIZE).rows
    grid = torch.stack(
        torch.meshgrid(torch.linspace(-4.2, 4.4, 120), torch.linspace(-3.4, 3.8, 100), indexing="xy"), -1
    )
    p = torch.softmax(torch.cat((grid, torch.ones(100, 120, 1)), -1) @ weights.T, -1)
    shade = 1 - (p.amax(-1, keepdim=True) - 1 / 3) * 0.6
    colours = torch.tensor([to_rgb(colour) for colour in COLOURS])[p.argmax(-1)]
    axes.imshow(shade + (1 - shade) * colours, origin="lower", extent=(-4.2, 4.4, -3.4, 3.8), aspect="auto")
    axes.scatter(*rows.T, s=5, c=[COLOURS[c] for c in classes], linewidths=0)
    axes.scatter(*rows[known].T, s=26, marker="s", c=[COLOURS[c] for c in classes[known]], edgecolors="black", lw=0.8)
    axes.scatter(*rows[chosen].T, s=46, facecolors="none", edgecolors="black", linewidths=1.1)
    for number, row in enumerate(chosen.tolist(), 1):
        axes.annotate(str(number), rows[row], xytext=(4, 3), textcoords="offset points", fontsize=6)
    axes.set_title(spec.replace(", ", ",\n", 1) if len(spec) > 34 else spec, fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])


def main() -> None:
    """One picture a family."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    arguments = parser.parse_args()
    for family, specs in FAMILIES.items():
        columns = 4 if len(specs) > 3 else len(specs)
        lines = -(-len(specs) // columns)
        figure, axes = plt.subplots(lines, columns, figsize=(2.6 * columns, 2.45 * lines), squeeze=False)
        for place, spec in enumerate(specs):
            draw(axes.flat[place], spec)
        for empty in axes.flat[len(specs) :]:
            empty.axis("off")
        figure.tight_layout(pad=0.6)
        path = arguments.out / f"strategies-{family}.png"
        figure.savefig(path, dpi=88, metadata={"Software": None})
        plt.close(figure)
        print(path)


if __name__ == "__main__":
    main()
