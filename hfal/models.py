"""Loading models and tokenizers, with what goes wrong told in one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel

from hfal.demo import demo_model
from hfal.errors import HfalError
from hfal.tasks.base import Task

POOLINGS = ("mean", "cls", "entities")
OFFSET_POSITIONS = ("roberta", "camembert", "xlm-roberta", "data2vec-text", "longformer", "mpnet", "esm")
"""Families whose position table starts after the padding index."""


def locate(model: str) -> str:
    """`demo/...` names as the folder they stand for; anything else as it is.

    Raises:
        HfalError: a folder that is not a saved model, or has no safetensors weights.
    """
    if model.startswith("demo/"):
        return str(demo_model(model))
    folder = Path(model).expanduser()
    if not folder.is_dir():
        if model.startswith((".", "/", "~")):
            raise HfalError(f"learner.model: there is no folder {model}")
        return model
    if not (folder / "config.json").exists():
        raise HfalError(f"learner.model: {model} is not a saved model: it has no config.json")
    if not list(folder.glob("*.safetensors")):
        pickled = any(folder.glob("*.bin"))
        why = "its weights are pickled, which is not safe to load" if pickled else "it has no weights"
        raise HfalError(f"learner.model: {model}: {why}; save it with save_pretrained (safetensors)")
    return str(folder)


def load_tokenizer(
    model: str, *, trust_remote_code: bool, pad_token: str | None, of_words: bool = False, pads_with_end: bool = False
) -> Any:
    """The tokenizer of a model, with a pad token; for word lists, one that takes a word as after a blank.

    With `pads_with_end` the token that ends a text stands in for a pad token that is missing.
    """
    options = {"add_prefix_space": True} if of_words else {}
    tokenizer = _load(AutoTokenizer, model, "tokenizer", trust_remote_code=trust_remote_code, **options)
    if pad_token is not None:
        if pad_token not in tokenizer.get_vocab():
            raise HfalError(f"learner.pad_token: {pad_token!r} is not in the vocabulary of {model}")
        tokenizer.pad_token = pad_token
    if tokenizer.pad_token is None and pads_with_end:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        known = tokenizer.eos_token or tokenizer.unk_token
        hint = f", for example pad_token: {known!r}" if known else ""
        raise HfalError(f"the tokenizer of {model} has no pad token: name one with learner.pad_token{hint}")
    return tokenizer


def load_encoder(model: str, *, trust_remote_code: bool) -> PreTrainedModel:
    """A model without a head."""
    return _load_model(AutoModel, model, trust_remote_code=trust_remote_code)


def load_classifier(model: str, task: Task, *, trust_remote_code: bool, pad_token_id: int) -> PreTrainedModel:
    """A model with a new head over the task's labels."""
    options = {} if task.per_word else {"problem_type": problem_type(task)}
    loaded = _load_model(
        getattr(transformers, task.auto_model),
        model,
        trust_remote_code=trust_remote_code,
        **label_config(task),
        **options,
        ignore_mismatched_sizes=True,
    )
    if loaded.config.pad_token_id is None:
        loaded.config.pad_token_id = pad_token_id
    return loaded


def freeze_pooler(encoder: PreTrainedModel) -> None:
    """Leave out of training what a model that reads the last states has no use for (processes would wait for it)."""
    pooler = getattr(encoder, "pooler", None)
    if pooler is not None:
        pooler.requires_grad_(False)


def load_config_of(model: str, *, trust_remote_code: bool) -> Any:
    """The configuration of a model."""
    return _load(AutoConfig, model, "configuration", trust_remote_code=trust_remote_code)


def load_writer(auto: Any, model: str, *, trust_remote_code: bool) -> PreTrainedModel:
    """A model that writes texts, with the head it was saved with."""
    return _load_model(auto, model, trust_remote_code=trust_remote_code)


def label_config(task: Task) -> dict[str, Any]:
    """The labels in the words of a model's configuration."""
    names = task.names
    return {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
    }


def problem_type(task: Task) -> str:
    """What transformers calls the work."""
    return "multi_label_classification" if task.multi_label else "single_label_classification"


def _load_model(auto: Any, model: str, **arguments: Any) -> PreTrainedModel:
    with quiet():
        loaded = _load(auto, model, "model", use_safetensors=True, dtype=torch.float32, **arguments)
    return loaded.eval()


def load_quietly(auto: Any, model: str, *, trust_remote_code: bool) -> tuple[PreTrainedModel, list[str]]:
    """A model with the head it was saved with, and the names of weights that it was saved without."""
    with quiet():
        loaded, info = _load(
            auto,
            model,
            "model",
            use_safetensors=True,
            dtype=torch.float32,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
    return loaded.eval(), sorted(info["missing_keys"])


@contextmanager
def quiet() -> Iterator[None]:
    """What transformers says and shows while it loads and saves is not said, in every round anew."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _load(auto: Any, model: str, what: str, **arguments: Any) -> Any:
    try:
        return auto.from_pretrained(locate(model), **arguments)
    except HfalError:
        raise
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n")[0]
        raise HfalError(f"learner.model: cannot load the {what} of {model!r}: {reason}") from error


def max_length_of(model: PreTrainedModel, tokenizer: Any, wanted: int | None) -> int:
    """Tokens that the model can read, special ones included; `wanted` where that is fewer."""
    limits = [wanted] if wanted else []
    if tokenizer.model_max_length and tokenizer.model_max_length < 10**6:
        limits.append(int(tokenizer.model_max_length))
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        offset = (
            (getattr(model.config, "pad_token_id", None) or 0) + 1 if model.config.model_type in OFFSET_POSITIONS else 0
        )
        limits.append(positions - offset)
    return min(limits, default=512)


def check_pooling(pooling: str, task: Task) -> None:
    """Rows are pooled by "mean" or "cls", words by "mean" or "entities"."""
    allowed = ("mean", "entities") if task.per_word else ("mean", "cls")
    if pooling not in allowed:
        raise HfalError(f"learner.pooling must be {' or '.join(allowed)} for {task.name}, got {pooling!r}")


def pool_layers(states: Sequence[Tensor], mask: Tensor) -> Tensor:
    """The states of each layer, [B, S, D] -> [B, L, D]: the mean over real tokens."""
    return torch.stack([pool_hidden(state, mask, "mean") for state in states], 1)


def unit_length(embeddings: Tensor) -> Tensor:
    """[..., D] of length 1: what a text is about is where its embedding points; its length follows that of the text."""
    return torch.nn.functional.normalize(embeddings.float(), dim=-1)


def pool_hidden(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """[B, S, D] hidden states -> [B, D] float32: the mean over real tokens, or the first real token."""
    hidden = hidden.float()
    if pooling == "cls":
        first = mask.argmax(1)
        return hidden[torch.arange(len(hidden), device=hidden.device), first]
    weights = mask.unsqueeze(-1).float()
    return (hidden * weights).sum(1) / weights.sum(1).clamp_min(1)
