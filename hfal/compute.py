"""Processes and devices, through Accelerate: the few questions that the rest asks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, parse_flag_from_env, reduce
from torch import Tensor
from tqdm.auto import tqdm


def on_cpu() -> bool:
    """Whether Accelerate is to use the CPU: asked for by its own variable, or nothing else is there."""
    return bool(parse_flag_from_env("ACCELERATE_USE_CPU")) or not torch.accelerator.is_available()


def state() -> PartialState:
    """Accelerate's view of the processes of this run."""
    return PartialState(cpu=on_cpu())


def own_device(number: int) -> None:
    """Make this process's device the GPU with this number, counted round; on the CPU there is nothing to do."""
    if state().device.type == "cuda":
        torch.cuda.set_device(number % torch.cuda.device_count())


def most_runs(each: int) -> int | None:
    """How many runs of `each` bytes the GPUs hold together, one a GPU at least; None where the CPU is used."""
    if on_cpu() or not torch.cuda.is_available():
        return None
    sizes = [torch.cuda.get_device_properties(device).total_memory for device in range(torch.cuda.device_count())]
    return len(sizes) * max(1, min(sizes) // each)  # processes take them in turn


def is_main() -> bool:
    """Whether this process writes files and talks to the user."""
    return bool(state().is_main_process)


def progress(total: int, description: str, unit: str = "step") -> tqdm[None]:
    """A bar on the main process, for what takes more than a second."""
    return tqdm(total=total, desc=description, unit=unit, leave=False, disable=None if is_main() else True, delay=1)


def barrier() -> None:
    """Wait until every process is here."""
    current = state()
    if current.num_processes > 1 and current.device.type == "cpu":
        torch.distributed.barrier()  # Accelerate's would name a GPU of each process, where the machine has one
    else:
        current.wait_for_everyone()


def from_main(value: Any) -> Any:
    """The main process's value, in every process."""
    if state().num_processes == 1:
        return value
    box = [value]
    broadcast_object_list(box)
    return box[0]


def sum_over_processes(tensor: Tensor) -> Tensor:
    """The elementwise sum of a CPU tensor over the processes."""
    current = state()
    if current.num_processes == 1:
        return tensor
    return cast(Tensor, reduce(tensor.to(current.device), "sum")).to("cpu")


def gathered(found: dict[str, dict[int, Any]]) -> dict[str, dict[int, Any]]:
    """What each process found of its own rows, put together on all of them."""
    if state().num_processes == 1:
        return found
    from accelerate.utils import gather_object

    whole: dict[str, dict[int, Any]] = {}
    for part in gather_object([found]):
        for name, by_row in part.items():
            whole.setdefault(name, {}).update(by_row)
    return whole


def derive_seed(*parts: object) -> int:
    """A 63-bit seed that follows from the parts alone (numbers, names, rounds)."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator_for(*parts: object) -> torch.Generator:
    """A CPU generator whose state follows from the parts alone."""
    return torch.Generator().manual_seed(derive_seed(*parts))


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Torch's global generators seeded here, and given back as they were."""
    device = state().device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):  # others would be woken up
        torch.manual_seed(seed)
        yield
