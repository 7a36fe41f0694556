"""Active learning for a text classifier: any model of the Hub, any data set. Copy it and change it.

python recipes/sentiment.py                                   # DistilBERT on SST-2, from the Hub
python recipes/sentiment.py --model demo/minilm --offline     # MiniLM on tweets, without network
"""

import argparse

from datasets import load_dataset

from hfal import ActiveLearner, FineTune, Pool, Simulated, TextClassification, TrainingConfig
from hfal.demo import demo_dataset

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", default="distilbert/distilbert-base-uncased")
parser.add_argument("--dataset", default="stanfordnlp/sst2")
parser.add_argument("--text", default="sentence")
parser.add_argument("--strategy", default="margin>kmeans(prefilter=10)")
parser.add_argument("--budget", type=int, default=500)
parser.add_argument("--batch_size", type=int, default=50)
parser.add_argument("--rows", type=int, default=5000, help="rows of the pool")
parser.add_argument("--test_rows", type=int, default=1000)
parser.add_argument("--min_steps", type=int, default=150, help="floor on optimizer steps a round")
parser.add_argument("--output_dir", default="runs/sentiment-script")
parser.add_argument("--offline", action="store_true", help="the demo tweets in place of --dataset")
args = parser.parse_args()

if args.offline:
    rows, args.text = demo_dataset("demo/tweets"), "text"
else:
    rows = load_dataset(args.dataset, split="train")
rows = rows.shuffle(seed=0)
test = rows.select(range(args.test_rows))
rest = rows.select(range(args.test_rows, min(len(rows), args.test_rows + args.rows)))

pool = Pool.from_dataset(rest, TextClassification(text=args.text, label="label"), skip_empty=True)
learner = FineTune(args.model, TrainingConfig(num_train_epochs=5, learning_rate=5e-5, min_steps=args.min_steps))
active = ActiveLearner(
    pool,
    learner,
    strategy=args.strategy,
    oracle=Simulated("label"),
    test=test,
    budget=args.budget,
    batch_size=args.batch_size,
    output_dir=args.output_dir,
)
for done in active:
    print(f"{done.labeled} labels: accuracy {done.metrics['accuracy']:.3f}, macro-F1 {done.metrics['macro_f1']:.3f}")
print(f"model in {args.output_dir}/model; picture: hfal report {args.output_dir}")
