"""Dataset repositories of the Hugging Face Hub: files go there in one commit, tried again where it fails in passing.

Until that commit nothing of a push can be seen, and what was uploaded for it need not be uploaded again. The package
huggingface_hub does the talking; token and endpoint are where it finds them (HF_TOKEN or `hf auth login`, HF_ENDPOINT).
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import Any, TypeVar

from hnmine.errors import HnmineError, MissingDependencyError, StorageError, UsageError

T = TypeVar("T")

CARD = "README.md"
"""Where the Hub looks for the dataset card."""
ATTEMPTS = 6
"""How often a push is tried before its failure counts; most of its requests are tried six times by themselves."""
FIRST_PAUSE = 2.0
LONGEST_PAUSE = 60.0
_AT_ONCE = 16
"""Files that are uploaded before a signal is looked for."""
_PASSING = frozenset({408, 409, 412, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFile:
    """A file to push, and what it holds."""

    path: Path
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What a push came to: names of files in the repository, and the commit that has them."""

    url: str
    commit: str
    uploaded: tuple[str, ...]
    unchanged: tuple[str, ...]
    removed: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON values, for a summary."""
        lists = {name: list(getattr(self, name)) for name in ("uploaded", "unchanged", "removed")}
        return {"url": self.url, "commit": self.commit, **lists}


class DatasetRepository:
    """A dataset repository by its name, ORG/NAME. Nothing is asked of the Hub before `check` or `push`."""

    def __init__(self, name: str, *, say: Callable[[str], None] = lambda _: None, quiet: bool = False) -> None:
        self.name = name
        self._say = say
        hub = _huggingface_hub()
        if name.count("/") != 1:
            raise UsageError(f"--push {name}: no name of a dataset repository", expected="ORG/NAME, or USER/NAME")
        try:
            hub.utils.validate_repo_id(name)
        except ValueError as error:
            raise UsageError(f"--push {name}: {_words(error)}", expected="ORG/NAME, or USER/NAME") from None
        if quiet or not sys.stderr.isatty():
            hub.utils.disable_progress_bars()
        if quiet:
            hub.utils.logging.set_verbosity_error()
        self._hub = hub
        self._api = hub.HfApi(library_name="hnmine")

    @property
    def url(self) -> str:
        """Where people see it."""
        return f"{self._api.endpoint}/datasets/{self.name}"

    def check(self) -> None:
        """Raise `UsageError` where it is certain already that a push would be refused for want of a (valid) token.

        A Hub that does not answer is no reason: it may when the files are there.
        """
        if self._hub.constants.HF_HUB_OFFLINE:
            raise UsageError("--push: HF_HUB_OFFLINE forbids every request to the Hub", remedy="unset it")
        if self._hub.get_token() is None:
            raise UsageError(f"--push {self.name}: there is no token for {self._api.endpoint}", remedy=_LOG_IN)
        try:
            self._api.whoami()
        except Exception as error:
            if _status(error) == 401:
                raise self._refusal(error) from error

    def push(
        self,
        files: Mapping[str, LocalFile],
        card: Callable[[str | None], str],
        *,
        message: str,
        private: bool = False,
        is_stale: Callable[[str], bool] = lambda _: False,
        may_replace: Callable[[str | None], bool] = lambda _: True,
        check_stop: Callable[[], None] = lambda: None,
    ) -> Pushed:
        """Make the repository hold `files`, by their names in it, and `card(its own README.md)`; made if it is missing.

        Files that are there already are left as they are. Those for which `is_stale` holds and that are not among
        `files` go in the same commit. Raises `UsageError` where the Hub refuses, and where files would be replaced or
        go although `may_replace(its own README.md)` does not hold; `StorageError` where the Hub does not answer; and
        whatever `check_stop` raises between two uploads.
        """
        self._retried(lambda: self._create(private))
        return self._retried(lambda: self._commit(files, card, message, is_stale, may_replace, check_stop))

    def _create(self, private: bool) -> None:
        self._api.create_repo(self.name, repo_type="dataset", private=private or None, exist_ok=True)
        if private and self._api.dataset_info(self.name).private is False:
            raise UsageError(
                f"--private: {self.url} is public, and stays so",
                remedy=f"make it private at {self.url}/settings, or push to a new repository",
            )

    def _commit(
        self,
        files: Mapping[str, LocalFile],
        card: Callable[[str | None], str],
        message: str,
        is_stale: Callable[[str], bool],
        may_replace: Callable[[str | None], bool],
        check_stop: Callable[[], None],
    ) -> Pushed:
        """One try: each looks anew at what is there, since an answer that was lost does not say what it was."""
        info = self._api.dataset_info(self.name)
        entries = self._api.list_repo_tree(self.name, repo_type="dataset", recursive=True)
        there = {entry.path: entry for entry in entries if hasattr(entry, "blob_id")}
        missing = [name for name, file in files.items() if not _is_same(there.get(name), file)]
        stale = [name for name in there if name not in files and is_stale(name)]
        old = self._read(CARD) if CARD in there else None
        replaced = [*stale, *(name for name in missing if name in there)]
        if replaced and not may_replace(old):
            raise UsageError(
                f"{self.url} has files that hnmine did not push, and this push would replace: {', '.join(replaced[:3])}"
                + (" ..." if len(replaced) > 3 else ""),
                expected="a new repository, or one that a push made",
                remedy="push to another one, or replace them with --overwrite",
            )
        operations: list[Any] = []
        for start in range(0, len(missing), _AT_ONCE):
            check_stop()
            batch = [
                self._hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=os.fspath(files[name].path))
                for name in missing[start : start + _AT_ONCE]
            ]
            self._api.preupload_lfs_files(self.name, additions=batch, repo_type="dataset")
            operations += batch
        check_stop()
        new = card(old)
        uploaded = [*missing, *([CARD] if new != old else [])]
        unchanged = [name for name in [*files, CARD] if name not in uploaded]
        if new != old:
            operations.append(self._hub.CommitOperationAdd(path_in_repo=CARD, path_or_fileobj=new.encode()))
        operations += [self._hub.CommitOperationDelete(path_in_repo=name, is_folder=False) for name in stale]
        commit = str(info.sha)
        if operations:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a header that lacks what only people know
                done = self._api.create_commit(
                    self.name, operations=operations, commit_message=message, repo_type="dataset"
                )
            commit = str(done.oid)
        return Pushed(
            url=self.url, commit=commit, uploaded=tuple(uploaded), unchanged=tuple(unchanged), removed=tuple(stale)
        )

    def _read(self, name: str) -> str:
        with tempfile.TemporaryDirectory(prefix="hnmine-") as folder:
            found = self._api.hf_hub_download(self.name, name, repo_type="dataset", local_dir=folder)
            return Path(found).read_bytes().decode("utf-8-sig")

    def _retried(self, request: Callable[[], T]) -> T:
        """What `request` returns, asked again while its failure may pass."""
        pause = FIRST_PAUSE
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return request()
            except HnmineError:
                raise
            except Exception as error:
                if not self._may_pass(error):
                    raise self._refusal(error) from error
                if attempt == ATTEMPTS:
                    raise StorageError(
                        f"{self._api.endpoint} failed {attempt} times: {_words(error)}",
                        remedy="run the same command again: the export is finished, and uploads that arrived are kept",
                    ) from error
                wait = min(LONGEST_PAUSE, _retry_after(error) or pause * random.uniform(0.5, 1.0))
                self._say(f"push: {_words(error)}; trying again in {wait:.0f} s")
            time.sleep(wait)
            pause *= 2
        raise AssertionError("the last attempt returns or raises")

    def _may_pass(self, error: Exception) -> bool:
        """Whether asking again may help. Raises what is no failure of the Hub."""
        if isinstance(error, self._hub.errors.OfflineModeIsEnabled):
            return False
        if type(error) is RuntimeError:  # of a single upload, whose URL has a date: the next try gets another
            return True
        status = _status(error)
        if status is not None:
            return status in _PASSING or status > 504
        if isinstance(
            error, JSONDecodeError | self._hub.errors.LocalEntryNotFoundError
        ):  # a proxy's page; no card came
            return True
        if isinstance(error, ValueError):  # what huggingface_hub makes of the Hub's answer about a card, or of a quota
            return False
        if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _NETWORK:
            return True
        raise error

    def _refusal(self, error: Exception) -> HnmineError:
        """A failure that stays, as a person can do something about it."""
        words, status = _words(error), _status(error)
        if isinstance(error, self._hub.errors.OfflineModeIsEnabled):
            return UsageError("--push: HF_HUB_OFFLINE forbids every request to the Hub", remedy="unset it")
        if status == 401:
            return UsageError(f"{self._api.endpoint} does not accept the token: {words}", remedy=_LOG_IN)
        if status == 403:
            return UsageError(
                f"the token may not write to {self.url}: {words}",
                expected="a token with write access to its owner",
                remedy=_LOG_IN,
            )
        if status == 404:
            return UsageError(
                f"--push {self.name}: {self._api.endpoint} does not find it: {words}",
                expected="an organisation or user that exists, as ORG/NAME",
            )
        if status in (413, 507) or "LFS batch" in words:
            return StorageError(f"{self._api.endpoint} does not take the files: {words}")
        if "metadata" in words and "README" in words:
            return UsageError(
                f"{self._api.endpoint} does not take the card: {words}",
                remedy="--license takes an identifier of the Hub, such as apache-2.0; else mend the card on the Hub",
            )
        return UsageError(f"--push {self.name}: {self._api.endpoint} refuses: {words}")


_LOG_IN = "hf auth login, or HF_TOKEN with a token that may write (the Hub's settings make one)"
_NETWORK = frozenset({"hf_xet", "httpcore", "httpcore2", "httpx", "httpx2", "requests", "urllib3"})
"""Packages whose errors are the network's."""


def _huggingface_hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ImportError:
        raise MissingDependencyError(
            "--push needs the package huggingface_hub, which is not installed", remedy="pip install 'hnmine[hub]'"
        ) from None
    return huggingface_hub


def _is_same(entry: Any, file: LocalFile) -> bool:
    """Whether what is in the repository has the bytes of a local file; a large one is not read for that."""
    if entry is None or entry.size != file.bytes:
        return False
    if entry.lfs is not None:
        return bool(entry.lfs.sha256 == file.sha256)
    blob = hashlib.sha1(b"blob %d\0" % file.bytes, usedforsecurity=False)  # git's name of a file
    blob.update(file.path.read_bytes())
    return bool(blob.hexdigest() == entry.blob_id)


def _response(error: BaseException | None) -> Any:
    """The answer that an error is about, which may be the cause of the error."""
    while error is not None:
        response = getattr(error, "response", None)
        if response is not None:
            return response
        error = error.__cause__
    return None


def _status(error: BaseException) -> int | None:
    response = _response(error)
    return None if response is None else int(response.status_code)


def _retry_after(error: BaseException) -> float | None:
    response = _response(error)
    with suppress(ValueError, TypeError):
        return max(0.0, float(response.headers.get("Retry-After"))) if response is not None else None
    return None


def _words(error: BaseException) -> str:
    """What an error says in one line: the Hub's own words, and of an error without these its cause's too."""
    said: list[str] = []
    found: BaseException | None = error
    while found is not None:
        said.append(
            " ".join((getattr(found, "server_message", None) or str(found) or type(found).__name__).split())[:300]
        )
        if getattr(found, "response", None) is not None:
            break
        found = found.__cause__
    status = _status(error)
    return (f"HTTP {status}: " if status is not None else "") + ", because ".join(dict.fromkeys(said))
