"""Tagging words: the pass against Trainer.predict and the bare forward, and what scoring adds to it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, load_dataset
from transformers import AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments

from benchmarks.passes import timed
from benchmarks.timing import Row, peak_megabytes, seconds
from hfal import FineTune, TokenClassification
from hfal.alignment import WordTokens
from hfal.data import shuffled
from hfal.demo import demo_dataset, demo_model
from hfal.functional import Ragged
from hfal.inference import Outputs, plan_batches, reducer, run_pass, token_budget
from hfal.signals import Needs
from hfal.strategies import parse
from hfal.tasks.schemes import tags_for
from hfal.tokens import Tokens

ROWS = 1500
CPU = torch.device("cpu")


def sentences() -> tuple[str, Dataset]:
    """BC5CDR where it is at hand, else the demo tweets."""
    path = Path("../shared/data/bc5cdr/train.parquet")
    if path.exists():
        return "BC5CDR", shuffled(load_dataset("parquet", data_files=str(path), split="train"), 0).select(range(ROWS))
    return "tweets", shuffled(demo_dataset("demo/ner"), 0).select(range(ROWS))


def the_pass() -> Iterator[Row]:
    """Tokenizing, forward, alignment and MNLP scores, against what Trainer.predict and the forward alone take."""
    name, rows = sentences()
    task = TokenClassification().resolve(rows)
    learner = FineTune("demo/minilm")
    needs = parse("mnlp").needs
    tokenizer = AutoTokenizer.from_pretrained(demo_model("demo/minilm"))
    learner.bind(task, 0)
    learner._trained = True  # a head that was never trained is as fast
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(folder, report_to=[], disable_tqdm=True, use_cpu=True)
        trainer = Trainer(learner._model, arguments, data_collator=DataCollatorWithPadding(tokenizer))
        model = learner._model.eval()
        tokens = learner.tokens.get(rows)
        padded = [tokens.tokens.pad(batch, 0) for batch in plan_batches(tokens.lengths, token_budget(384, CPU))]

        def ours() -> None:
            learner.bind(task, 0)
            learner._trained = True
            learner.signals(rows, needs)

        def peer() -> None:
            encoded = rows.map(
                lambda batch: tokenizer(batch["tokens"], is_split_into_words=True, truncation=True),
                batched=True,
                remove_columns=rows.column_names,
                load_from_cache_file=False,
            )
            trainer.predict(encoded)

        @torch.inference_mode()
        def bare() -> None:
            for batch in padded:
                model(**batch)

        times: dict[str, list[float]] = {"ours": [], "peer": [], "bare": []}
        for _ in range(3):  # in turn, so that a slow moment meets all three
            for what, work in (("ours", ours), ("peer", peer), ("bare", bare)):
                times[what].append(timed(work))
    mine, theirs, least = (min(times[what]) for what in ("ours", "peer", "bare"))
    what = f"tokens and MNLP scores of {ROWS:,} {name} sentences, MiniLM"
    size = arguments.per_device_eval_batch_size
    peer_name = f"Trainer.predict, batches of {size}, logits only: {seconds(theirs)}"
    yield what, seconds(mine), peer_name, f"{theirs / mine:.2f}x faster", "1.5x"
    yield (
        "the same",
        seconds(mine),
        f"bare forward, same batches: {seconds(least)}",
        f"{least / mine:.0%} of its speed",
        "80%",
    )
    align = timed(lambda: learner.tokens._encode({"tokens": rows["tokens"][:]}))
    units = torch.from_numpy(tokens.words)
    logits = Ragged(torch.randn(int(units[-1]), len(task.names)), units)
    from hfal import functional as F

    score = timed(lambda: F.mnlp(logits, task.legal))
    yield (
        "alignment (with tokenizing) and scoring alone",
        seconds(align + score),
        f"the pass {seconds(mine)}",
        f"{(align + score) / mine:.1%}",
        "at most 10%",
    )


def many() -> Iterator[Row]:
    """1,000,000 sentences of 25 words and 19 tags, scored inside the pass by a forward that only draws logits."""
    total, words, tags = 1_000_000, 25, tags_for([f"t{i}" for i in range(9)], "BIO")
    task = TokenClassification(label_names=tags, scheme="BIO")
    length = words + 2
    one = np.arange(total + 1, dtype=np.int64)
    tokens = WordTokens(
        Tokens(np.zeros(total * length, np.int32), one * length),
        one,
        one * words,
        np.tile(np.arange(1, words + 1, dtype=np.int32), total),
    )
    generator = torch.Generator().manual_seed(0)

    def forward(batch: dict[str, torch.Tensor]) -> Outputs:
        return {
            "logits": Ragged(torch.randn(len(batch["word_at"]), 19, generator=generator) * 4, batch["word_offsets"])
        }

    needs: Needs = parse("mnlp").needs

    def work() -> None:
        found = run_pass(
            forward, tokens, pad_id=0, padding_side="right", budget=65_536, device=CPU, finish=reducer(needs, task)
        )
        assert len(found["reduce:MNLP()"]) == total

    held = sum(
        part.nbytes for part in (tokens.tokens.ids, tokens.tokens.offsets, tokens.windows, tokens.words, tokens.at)
    )
    peak = peak_megabytes(work) + held / 2**20
    yield (
        "MNLP of 1,000,000 sentences x 25 words x 19 tags",
        f"{peak:,.0f} MB with their tokens",
        "their logits: 1,812 MB",
        f"{peak / 1812:.2f} of them",
        "at most 2 GB",
    )


BENCHMARKS = {"words": the_pass, "million": many}
