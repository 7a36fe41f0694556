"""Pictures as data sets keep them, `{"bytes", "path"}`: looked at, told apart, and decoded once each."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import stat
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pil
from PIL import ImageOps
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

Picture = Mapping[str, Any]
"""`bytes`, or a `path` to read them from."""

MOST_PIXELS = 200_000_000
"""Pictures with more are refused: a small file can claim any size."""
WORKERS_FROM = 64
"""Pictures from which on it pays to decode in processes."""
TOGETHER = 32
UNDECODABLE = (OSError, ValueError, SyntaxError, EOFError, struct.error, Pil.DecompressionBombError)
"""What Pillow's decoders raise of files that are no pictures, or half of one."""


def content(picture: Picture) -> bytes:
    """The file.

    Raises:
        OSError: it cannot be read.
    """
    if picture.get("bytes") is not None:
        return bytes(picture["bytes"])
    path = Path(str(picture["path"])).expanduser()
    if not path.is_file():  # a folder or a pipe is none
        raise FileNotFoundError(path)
    return path.read_bytes()


def key(picture: Picture) -> bytes:
    """16 bytes that follow from the file's content; of what cannot be read from its path."""
    if picture.get("bytes") is not None:
        return hashlib.blake2b(picture["bytes"], digest_size=16).digest()
    path = os.path.expanduser(str(picture["path"]))
    try:
        known = os.stat(path)
        if stat.S_ISREG(known.st_mode):
            return _key_of_file(path, known.st_mtime_ns, known.st_size)
    except (OSError, ValueError):  # missing, not to be read, or no path
        pass
    return hashlib.blake2b(path.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@lru_cache(maxsize=200_000)
def _key_of_file(path: str, _changed: int, _size: int) -> bytes:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=16)).digest()


def decode(picture: Picture, size: int | None = None) -> Pil.Image:
    """The picture as RGB, turned as its camera said; what is transparent shows white.

    Args:
        picture: to decode.
        size: to which both sides may be reduced while decoding, where the file's format can; no less comes back.

    Raises:
        (`UNDECODABLE`): no picture, or half of one.
    """
    opened: Pil.Image = Pil.open(io.BytesIO(content(picture)))
    if opened.width * opened.height > MOST_PIXELS:
        raise ValueError(f"{opened.width} x {opened.height} pixels are too many")
    if size is not None:
        opened.draft("RGB", (size, size))
    turned = ImageOps.exif_transpose(opened) or opened
    if turned.mode.startswith("I") or turned.mode == "F":  # 16 bits or more for each grey
        values = np.asarray(turned, dtype=np.float64)
        span = float(values.max() - values.min()) or 1.0
        turned = Pil.fromarray(((values - values.min()) / span * 255).astype(np.uint8))
    if "transparency" in turned.info or turned.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        clear = turned.convert("RGBA")
        turned = Pil.alpha_composite(Pil.new("RGBA", clear.size, "white"), clear)
    return turned.convert("RGB")


_PROBLEMS: dict[bytes, str | None] = {}
"""Key of a picture -> why it cannot be used: each is looked at once."""


def problems(pictures: Sequence[Any]) -> list[str | None]:
    """For each picture why it cannot be used; None where it can. All of each is decoded, at its smallest."""
    missing = [picture is None or (picture.get("bytes") is None and not picture.get("path")) for picture in pictures]
    keys = [None if gone else key(picture) for gone, picture in zip(missing, pictures, strict=True)]
    new = {k: picture for k, picture in zip(keys, pictures, strict=True) if k is not None and k not in _PROBLEMS}
    found = in_workers(_problem_of, list(new.values()), "looking at pictures")
    _PROBLEMS.update(zip(new, (one for part in found for one in part), strict=True))
    return ["is missing (None)" if k is None else _PROBLEMS[k] for k in keys]


def _problem_of(picture: Picture) -> str | None:
    try:
        decode(picture, 32)
    except FileNotFoundError:
        return f"names a file that is not there: {picture['path']}"
    except UNDECODABLE as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        name = f" {Path(str(picture['path'])).name}" if picture.get("path") else ""
        return f"holds a picture{name} that cannot be decoded: {reason[:100]}"
    return None


def pixels(picture: Picture, size: int) -> NDArray[np.uint8]:
    """[3, size, size] the whole picture, scaled to a square."""
    shown = decode(picture, size).resize((size, size), Pil.Resampling.BILINEAR)
    return np.asarray(shown, dtype=np.uint8).transpose(2, 0, 1)


def decode_all(pictures: Sequence[Picture], size: int, into: NDArray[np.uint8]) -> None:
    """Decode pictures in worker processes, a few at a time: they are never all in memory.

    Args:
        pictures: P of them.
        size: of a side.
        into: [P, 3, size, size], written in place (a memory map, where they are many).
    """
    at = 0
    for part in in_workers(partial(pixels, size=size), pictures, "decoding"):
        into[at : at + len(part)] = part
        at += len(part)


class _Applied(Dataset[Any]):
    """A function of each picture, for a `DataLoader`."""

    def __init__(self, function: Callable[[Picture], Any], pictures: Sequence[Picture]) -> None:
        self.function = function
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, at: int) -> Any:
        return self.function(self.pictures[at])


def in_workers(function: Callable[[Picture], Any], pictures: Sequence[Picture], what: str) -> Iterator[list[Any]]:
    """A function of each picture, in order, some at a time; in a process for each core where there are many."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0  # where processes are forked
    workers = cores if len(pictures) >= WORKERS_FROM else 0
    loader = DataLoader(_Applied(function, pictures), batch_size=TOGETHER, num_workers=workers, collate_fn=list)
    main = os.environ.get("RANK", "0") == "0"
    with tqdm(
        total=len(pictures), desc=what, unit="picture", leave=False, delay=1, disable=None if main else True
    ) as bar:
        for part in loader if len(pictures) else ():
            yield part
            bar.update(len(part))


def is_picture(value: Any) -> bool:
    """Whether a cell holds a picture, as data sets keep one."""
    return isinstance(value, Mapping) and value.keys() == {"bytes", "path"}


def stored(value: Any) -> Any:
    """A cell as it can be read anywhere: of a picture its file's content and name, not where it is on this machine."""
    if not is_picture(value):
        return value
    return {"bytes": content(value), "path": Path(str(value["path"])).name if value["path"] else None}


def shown(value: Any, size: int = 480) -> Any:
    """A cell as people see it: a picture as a data URI."""
    return thumbnail(value, size) if is_picture(value) else value


def thumbnail(picture: Picture, size: int = 480) -> str:
    """The picture as a data URI, encoded anew, no side longer than `size`; empty where it cannot be decoded."""
    try:
        shown = decode(picture, size)
    except UNDECODABLE:
        return ""
    shown.thumbnail((size, size))
    buffer = io.BytesIO()
    small = shown.width * shown.height <= 128 * 128
    shown.save(buffer, **({"format": "PNG"} if small else {"format": "JPEG", "quality": 80}))
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
