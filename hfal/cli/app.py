"""The command line: every command is a few lines over a function that Python can call too."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Self

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape

from hfal.errors import HfalError

app = typer.Typer(
    help="Active learning for Hugging Face: spend a label budget where it teaches the model most.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def main() -> None:
    """Entry point: what the user can put right is one line and exit code 2; ctrl-C is 130."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    _quiet_libraries()
    try:
        app()
    except HfalError as error:
        err.print(f"[bold red]error:[/] {escape(str(error))}")
        sys.exit(2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        where = f" {error.filename}" if error.filename else ""
        err.print(f"[bold red]error:[/] cannot write{escape(where)}: {error.strerror}. What was done is on disk")
        sys.exit(2)


def _quiet_libraries() -> None:
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    handler = RichHandler(console=err, show_time=False, show_path=False, show_level=False, markup=False)
    level = logging.WARNING if os.environ.get("RANK", "0") == "0" else logging.ERROR  # one process talks
    logging.basicConfig(level=level, format="%(message)s", handlers=[handler])


class CtrlC:
    """Remembers that ctrl-C was pressed, where the interrupt is lost: Python drops what is raised in a destructor."""

    def __enter__(self) -> Self:
        self.pressed = False
        self._before = signal.getsignal(signal.SIGINT)
        self._mine = threading.current_thread() is threading.main_thread() and self._before != signal.SIG_IGN
        if self._mine:  # a run in the background, which the shell has told to ignore it, goes on doing so
            signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *_: object) -> None:
        if self._mine:
            signal.signal(signal.SIGINT, self._before)

    def _press(self, _number: int, _frame: object) -> None:
        self.pressed = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Stop here where it was lost before."""
        if self.pressed:
            raise KeyboardInterrupt


@contextmanager
def stopped_well() -> Iterator[None]:
    """Ctrl-C ends a command that can be gone on with by one line that says so."""
    try:
        yield
    except KeyboardInterrupt:
        err.print("Stopped. What was done is on disk: run the same command to go on.")
        raise typer.Exit(130) from None


def tell(line: str) -> None:
    """Only the main process talks."""
    from hfal.compute import is_main

    if is_main():
        out.print(line)


Force = Annotated[bool, typer.Option("--force", help="Replace the file where it exists.")]


def keep_existing(path: Path, force: bool) -> None:
    """Refuse to write over a file, which may hold labels by now, before any work."""
    if path.exists() and not force:
        raise HfalError(f"{path} exists already: choose another name, or say --force")
