"""The pass against transformers' Trainer and the bare forward; the loop against its own work."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from datasets import Dataset, load_dataset
from transformers import AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments

from benchmarks.timing import Row, seconds
from hfal import FineTune, Pairs, TextClassification, TrainingConfig
from hfal.data import shuffled
from hfal.demo import demo_dataset, demo_model
from hfal.inference import plan_batches, token_budget
from hfal.signals import Needs
from hfal.tasks import Task

ROWS = 2000
LOGITS = Needs(pool=frozenset({"logits"}))


def texts() -> Dataset:
    """SST-2 sentences where they are at hand, else the demo tweets."""
    path = Path("../shared/data/sst2/train.parquet")
    if path.exists():
        return shuffled(load_dataset("parquet", data_files=str(path), split="train"), 0).select(range(ROWS))
    return shuffled(demo_dataset("demo/tweets"), 0).select(range(ROWS))


def learner_for(task: Task) -> FineTune:
    """MiniLM with a new head."""
    learner = FineTune("demo/minilm", TrainingConfig())
    learner.bind(task, 0)
    learner._trained = True  # a head that was never trained is as fast
    return learner


SENTIMENT = TextClassification(label_names=["negative", "positive"])


def timed(work: object) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - start


def the_pass() -> Iterator[Row]:
    """Over texts, against Trainer.predict in arrival order, and against the bare forward on the same batches."""
    yield from _against_trainer(texts(), SENTIMENT, f"the pass over {ROWS:,} SST-2 texts, MiniLM")


def pairs() -> Iterator[Row]:
    """The same over pairs of texts, read as one."""
    path = Path("../shared/data/abt_buy/test.parquet")
    if path.exists():
        rows = load_dataset("parquet", data_files=str(path), split="train").select(range(1000))
        yield from _against_trainer(rows, Pairs(label_names=["no", "yes"]), "the pass over 1,000 Abt-Buy pairs, MiniLM")


def _against_trainer(rows: Dataset, task: Task, work: str) -> Iterator[Row]:
    learner = learner_for(task)
    tokenizer = AutoTokenizer.from_pretrained(demo_model("demo/minilm"))
    encoded = rows.map(
        lambda batch: tokenizer(*(batch[name] for name in task.inputs), truncation=True, max_length=512), batched=True
    ).remove_columns(rows.column_names)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(folder, report_to=[], disable_tqdm=True, use_cpu=True)
        trainer = Trainer(learner._model, arguments, data_collator=DataCollatorWithPadding(tokenizer))
        tokens = learner.tokens.get(rows)
        batches = plan_batches(tokens.lengths, token_budget(384, torch.device("cpu")))
        size = arguments.per_device_eval_batch_size
        model = learner._model.eval()
        padded = [tokens.pad(batch, 0) for batch in batches]

        @torch.inference_mode()
        def bare() -> None:
            for batch in padded:
                model(**batch)

        ours, peer, floor = [], [], []
        for _ in range(3):  # in turn, so that a slow moment meets all three
            ours.append(timed(lambda: learner.signals(rows, LOGITS)))
            peer.append(timed(lambda: trainer.predict(encoded)))
            floor.append(timed(bare))
    mine, theirs, least = min(ours), min(peer), min(floor)
    predicted = f"Trainer.predict, batches of {size}: {seconds(theirs)}"
    yield work, seconds(mine), predicted, f"{theirs / mine:.2f}x faster", "1.5x"
    yield (
        work,
        seconds(mine),
        f"bare forward, same batches: {seconds(least)}",
        f"{least / mine:.0%} of its speed",
        "85%",
    )


def dropout() -> Iterator[Row]:
    """What 20 dropout samples cost, in passes."""
    rows = texts().select(range(600))
    learner = learner_for(SENTIMENT)
    head = Needs(pool=frozenset({"mc_logits"}), mc_samples=20)
    every = Needs(pool=frozenset({"mc_logits"}), mc_samples=20, mc_layers="all")
    learner.signals(rows, LOGITS)
    one = min(timed(lambda: learner.signals(rows, LOGITS)) for _ in range(3))
    cheap = min(timed(lambda: learner.signals(rows, head)) for _ in range(3))
    full = timed(lambda: learner.signals(rows, every))
    yield (
        "20 samples, dropout in the head",
        seconds(cheap),
        f"one pass {seconds(one)}",
        f"{cheap / one:.2f} passes",
        "at most 1.3",
    )
    yield (
        "20 samples, dropout in all layers",
        seconds(full),
        f"20 passes {seconds(20 * one)}",
        f"{full / one:.1f} passes",
        "about 21",
    )


def overhead() -> Iterator[Row]:
    """The loop on the demo: all that is not training, scoring or measuring."""
    from hfal.config import load_config
    from hfal.running import run_config

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
        config = load_config(
            "recipes/sentiment-offline.yaml", [f"output_dir={folder}/run", "repeats=1", "baseline=null"]
        )
        start = time.perf_counter()
        outcome = run_config(config, lambda *_: None)
        whole = time.perf_counter() - start
    stages: dict[str, float] = {}
    for _, rounds in outcome.rounds:
        for done in rounds:
            for stage, value in done.seconds.items():
                stages[stage] = stages.get(stage, 0.0) + value
    work = sum(stages.get(stage, 0.0) for stage in ("score", "select", "train", "evaluate"))
    rest = stages.get("label", 0.0) + stages.get("save", 0.0)
    yield (
        "the loop's own work on the demo",
        seconds(rest),
        f"training and scoring {seconds(work)}",
        f"{rest / work:.1%}",
        "at most 5%",
    )
    yield (
        "the same, with reading the data and the report",
        seconds(whole - work),
        seconds(work),
        f"{(whole - work) / work:.1%}",
        "-",
    )


BENCHMARKS = {"pass": the_pass, "pairs": pairs, "dropout": dropout, "overhead": overhead}
