"""One data set repo on the Hub, through huggingface_hub: asked again where it stumbles, never half-written."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.constants import is_offline_mode
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from hfal.errors import HfalError
from hfal.hub.contents import PROVENANCE

logger = logging.getLogger("hfal")
T = TypeVar("T")

TRIES = 5
FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
PASSING = (408, 429, 500, 502, 503, 504)
"""Answers after which asking again may help."""
TOKEN = re.compile(rb"\bhf_[A-Za-z0-9]{20,}\b")
sleep = time.sleep


class MovedError(Exception):
    """The repo has another head than the one that was read."""


@dataclass(frozen=True)
class State:
    """What the repo says at its head."""

    head: str
    private: bool
    files: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def rounds(self) -> dict[str, Any]:
        """What `hfal.json` says of each round, by number."""
        return dict(self.provenance.get("rounds", {}))


class Repo:
    """A data set repo, `OWNER/NAME`. The token is huggingface_hub's: HF_TOKEN, or what `hf auth login` keeps."""

    def __init__(self, name: str) -> None:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
            raise HfalError(f"{name!r} is not a repo on the Hub: expected OWNER/NAME")
        if is_offline_mode():
            raise HfalError("HF_HUB_OFFLINE is set: without it the Hub can be reached")
        self.name = name
        self.api = HfApi()

    def create(self, *, private: bool) -> None:
        """Make the repo where it is not there yet."""
        self.again(lambda: self.api.create_repo(self.name, repo_type="dataset", private=private, exist_ok=True))

    def state(self) -> State:
        """What is there now.

        Raises:
            HfalError: there is no such repo, or not for this token.
        """
        return self.again(self.look)

    def look(self) -> State:
        """`state`, once: for what is asked again as a whole."""
        info = self.api.dataset_info(self.name)
        files = frozenset(sibling.rfilename for sibling in info.siblings or ())
        refs = self.api.list_repo_refs(self.name, repo_type="dataset")
        tags = frozenset(ref.name for ref in refs.tags)
        known: dict[str, Any] = {}
        if PROVENANCE in files:
            known = json.loads(self._read(PROVENANCE, str(info.sha)).read_text(encoding="utf-8"))
        return State(str(info.sha), bool(info.private), files, tags, known)

    def _read(self, path: str, revision: str) -> Path:
        return Path(self.api.hf_hub_download(self.name, path, repo_type="dataset", revision=revision))

    def read(self, path: str, revision: str) -> Path:
        """A file of the repo, in huggingface_hub's cache."""
        return self.again(lambda: self._read(path, revision))

    def commit(self, files: dict[str, bytes], message: str, parent: str) -> str:
        """Write files in one commit on top of `parent`; the new head.

        Raises:
            MovedError: the head is another by now. What is asked again after that must look again first.
        """
        for path, content in files.items():
            if TOKEN.search(content) or ((secret := get_token()) and secret.encode() in content):
                raise HfalError(f"{path} holds what looks like an access token: it is not pushed")
        operations = [CommitOperationAdd(path, content) for path, content in sorted(files.items())]
        try:
            made = self.api.create_commit(
                self.name, operations, commit_message=message, repo_type="dataset", parent_commit=parent
            )
        except HfHubHTTPError as error:
            if error.response is not None and error.response.status_code in (409, 412):
                raise MovedError from None
            raise
        return str(made.oid)

    def tag(self, name: str, revision: str) -> None:
        """Give a commit a name, where it does not have it."""
        self.api.create_tag(self.name, tag=name, revision=revision, repo_type="dataset", exist_ok=True)

    def again(self, work: Callable[[], T]) -> T:
        """Do what may be done twice, again while the Hub stumbles.

        Raises:
            HfalError: it does not get up, or it says no.
        """
        for turn in range(TRIES):
            try:
                return work()
            except Exception as raised:
                error = _reason(raised)
                wait = self._wait(error, turn)
                if wait is None:
                    raise self._told(error) from None
                logger.warning("the Hub does not answer as it should (%s): again in %.0f s", _short(error), wait)
                sleep(wait)
        raise AssertionError("unreachable")

    def _wait(self, error: Exception, turn: int) -> float | None:
        """Seconds after which to ask again; None where that is of no use."""
        if turn == TRIES - 1:
            return None
        usual = min(FIRST_WAIT * 2**turn, LONGEST_WAIT)
        if isinstance(error, HfHubHTTPError) and error.response is not None:
            if error.response.status_code not in PASSING:
                return None
            asked = error.response.headers.get("Retry-After", "")
            return min(float(asked), LONGEST_WAIT) if asked.isdigit() else usual
        return usual if _is_network(error) else None

    def _told(self, error: Exception) -> Exception:
        """One line that says what to do; never with a token or a whole request in it."""
        if isinstance(error, (HfalError, MovedError)):
            return error
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403) and not isinstance(error, RepositoryNotFoundError):
            return HfalError(
                f"the Hub does not let you at {self.name} ({status}): HF_TOKEN, or what `hf auth login` keeps, must be "
                "a token that may write"
            )
        if isinstance(error, RepositoryNotFoundError):
            return HfalError(f"there is no data set {self.name} on the Hub, or your token may not see it")
        if isinstance(error, HFValidationError):
            return HfalError(f"{self.name!r} is not a repo on the Hub: {str(error)[:120]}")
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            return HfalError(f"{self.name} on the Hub was not pushed by hfal: {_short(error)}")
        if isinstance(error, HfHubHTTPError) or _is_network(error):
            return HfalError(f"the Hub does not answer ({_short(error)}): nothing is lost, run the same command again")
        return error


def _reason(error: BaseException) -> Exception:
    """What the Hub or the network said, where a client has wrapped it."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, HfHubHTTPError) and not _is_network(seen):
        seen = seen.__cause__
    found = error if seen is None else seen
    return found if isinstance(found, Exception) else HfalError(str(found))


def _is_network(error: BaseException) -> bool:
    """Whether the connection failed, whichever client's error that is."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, (OSError, httpx.TransportError)) or "TransportError" in kinds


def _short(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return f"{type(error).__name__}" + (f" {status}" if status else "")
