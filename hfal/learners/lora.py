"""Low-rank adapters (LoRA; Hu et al. 2022), through peft."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from hfal.errors import HfalError


def with_adapters(model: PreTrainedModel, settings: dict[str, Any], kind: str) -> Any:
    """The model with adapters, all else frozen but a new head.

    Args:
        model: changed in place.
        settings: of peft's `LoraConfig`.
        kind: peft's task type.

    Raises:
        HfalError: peft is not installed, or it does not take the settings.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise HfalError("learner.lora needs peft: pip install 'hfal[lora]'") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft's own calls of what transformers renames
            return get_peft_model(model, LoraConfig(task_type=kind, **settings))
    except (TypeError, ValueError) as error:
        raise HfalError(f"learner.lora: {str(error).splitlines()[0]}") from error


def for_classifier(model: PreTrainedModel, settings: dict[str, Any]) -> dict[str, Any]:
    """What is not said of the adapters as a classifier needs it: in all linear layers, the pooler trained whole.

    A pooler that stays as it was pretrained, or was never pretrained at all, lets nothing of the adapters through.
    """
    pooler = {"modules_to_save": ["pooler"]} if getattr(model.base_model, "pooler", None) is not None else {}
    return {"target_modules": "all-linear", **pooler, **settings}


def load_adapters(model: PreTrainedModel, folder: Path) -> Any:
    """The model with the adapters that were saved in a folder, ready to be trained on."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, folder, is_trainable=True)
