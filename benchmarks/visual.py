"""Questions about pictures: one encoding of each picture, samples in the head, decoding on all cores."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from datasets import Dataset
from PIL import Image as Pil

from benchmarks.timing import Row, best, seconds
from hfal import VisualQuestionAnswering
from hfal.config import Source
from hfal.data import load_source
from hfal.learners import Fusion
from hfal.pictures import decode_all, pixels
from hfal.signals import Needs
from hfal.strategies import LatentVariance
from hfal.visual import PictureFeatures

QUESTIONS = 16_000
LOGITS = Needs(pool=frozenset({"logits"}))


def fusion() -> tuple[Fusion, Dataset]:
    """The demo's learner, untrained, and questions whose texts and pixels it knows already."""
    rows = load_source(Source(source="demo/easy-vqa")).select(range(QUESTIONS))
    task = VisualQuestionAnswering().resolve(rows)
    learner = Fusion("demo/minilm")
    learner.bind(task, 0)
    learner._read(rows)
    learner._use(learner._model)  # a head that was never trained is as fast
    return learner, rows


def the_pass() -> Iterator[Row]:
    """A round's pass, against the model on each question with its own picture; and with K latent samples."""
    learner, rows = fusion()
    model = learner._model
    assert model is not None
    read = learner._read(rows)
    pictures = len(np.unique(read.pictures))

    def afresh(needs: Needs) -> Callable[[], object]:
        def work() -> object:
            learner._pictures = PictureFeatures(model, learner.pixels)  # as after a fit
            return learner.signals(rows, needs)

        return work

    @torch.inference_mode()
    def each() -> None:
        for start in range(0, len(rows), 256):
            part = slice(start, start + 256)
            values = model.pixel_values(learner.pixels.gather(read.pictures[part]))
            model(text_features=learner.texts.gather(read.text[part]), pixel_values=values)

    ours = best(afresh(LOGITS))
    theirs = best(each)
    work = f"VQA pass, {len(rows):,} questions about {pictures:,} pictures"
    limit = f"a picture for each question {seconds(theirs)}"
    yield work, seconds(ours), limit, f"{theirs / ours:.2f}x faster", f"{len(rows) / pictures:.1f}x at most"
    sampled = best(afresh(LatentVariance(mc_samples=10).needs))
    yield (
        "10 latent samples, dropout in the fusion head",
        seconds(sampled),
        f"one pass {seconds(ours)}",
        f"{sampled / ours:.2f} passes",
        "at most 1.5",
    )


def decoding() -> Iterator[Row]:
    """Photos in worker processes against one after the other, and how busy the cores are."""
    rng = np.random.default_rng(0)
    noise = Pil.fromarray(rng.integers(0, 255, (96, 128, 3), dtype=np.uint8)).resize((1280, 960))
    buffer = io.BytesIO()
    noise.save(buffer, "JPEG", quality=85)
    photos = [{"bytes": buffer.getvalue(), "path": None}] * 600
    into = np.empty((len(photos), 3, 224, 224), dtype=np.uint8)
    alone = best(lambda: [pixels(photo, 224) for photo in photos], runs=2)
    start, before = time.perf_counter(), os.times()
    decode_all(photos, 224, into)
    wall, after = time.perf_counter() - start, os.times()
    busy = sum(getattr(after, name) - getattr(before, name) for name in ("user", "system", "children_user"))
    cores = len(os.sched_getaffinity(0))
    work = f"decoding {len(photos)} photos of 1.2 megapixels to 224 x 224"
    yield (
        work,
        seconds(wall),
        f"one after the other {seconds(alone)}",
        f"{alone / wall:.2f}x faster",
        f"{cores}x at most",
    )
    yield work, seconds(wall), f"{cores} cores", f"{busy / wall / cores:.0%} busy", "both"


BENCHMARKS = {"vqa": the_pass, "decoding": decoding}
