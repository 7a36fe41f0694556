"""Active learning for named entities, spending words: any model, any data set or CoNLL file. Copy it and change it.

python recipes/ner.py --offline --output_dir runs/ner             # MiniLM on tweets, without network
python recipes/ner.py --dataset my.conll --model FacebookAI/roberta-base --output_dir runs/mine
"""

import argparse
from pathlib import Path

from hfal import ActiveLearner, FineTune, FrozenHead, Pool, TokenClassification, TrainingConfig
from hfal.config import Source
from hfal.data import load_source, shuffled
from hfal.report import write_report

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", default="distilbert/distilbert-base-cased")
parser.add_argument("--dataset", help="a file (.conll, .parquet, .jsonl, …) or a Hub name")
parser.add_argument("--tokens", default="tokens", help="column of word lists")
parser.add_argument("--tags", default="ner_tags", help="column of their tags")
parser.add_argument("--strategy", default="mnlp>kmeans(prefilter=10)")
parser.add_argument("--words", type=int, default=10_000, help="words that may be labelled")
parser.add_argument("--batch_words", type=int, default=1000, help="words a round")
parser.add_argument("--test_rows", type=int, default=600)
parser.add_argument("--output_dir", type=Path, default=Path("runs/ner-script"))
parser.add_argument("--offline", action="store_true", help="the demo tweets and a frozen MiniLM: minutes on a laptop")
args = parser.parse_args()
if not (args.offline or args.dataset):
    parser.error("give --dataset, or --offline for the demo tweets")

if args.offline:
    rows, learner = load_source(Source(source="demo/ner")), FrozenHead("demo/minilm")
else:
    rows = load_source(Source(source=args.dataset))
    learner = FineTune(args.model, TrainingConfig(num_train_epochs=5, learning_rate=5e-5))
rows = shuffled(rows, seed=0)
test, rest = rows.select(range(args.test_rows)), rows.select(range(args.test_rows, len(rows)))
pool = Pool.from_dataset(rest, TokenClassification(tokens=args.tokens, tags=args.tags))


def spend(strategy, start, folder):
    """All rounds of a strategy."""
    return ActiveLearner(
        pool.copy(),
        learner,
        strategy,
        test=test,
        budget={"words": args.words},
        batch_size={"words": args.batch_words},
        start=start,
        output_dir=folder,
    ).run()


ours = spend(args.strategy, "typiclust", args.output_dir)
chance = spend("random", "random", args.output_dir / "baseline")
print(f"{'words':>8} {'precision':>10} {'recall':>8} {'F1':>8} {'random':>8}")
for done, other in zip(ours, chance, strict=False):
    scores = done.metrics
    print(f"{done.words:8,} {scores['precision']:10.3f} {scores['recall']:8.3f} {scores['f1']:8.3f}", end=" ")
    print(f"{other.metrics['f1']:8.3f}")
print(f"report: {write_report([args.output_dir])}")
