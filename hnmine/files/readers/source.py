"""One DATA, opened: the base class of every input form, and the collection of what is wrong with it as a whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from hnmine.errors import HnmineError, InputError, ProblemLog, UsageError
from hnmine.files.readers.records import Document, Judgment, Query
from hnmine.files.readers.streams import InputFile
from hnmine.hashing import digest_file, digest_json
from hnmine.schema import Scale


class Source(ABC):
    """An input that was found to be complete: its files, columns and split exist; its records are still unread.

    The three passes stream in file order and may be interleaved. A record that is none is added to `problems` and left
    out, and is reported once even where several passes meet it (a row of a pairs file). What only the whole collection
    can tell (repeated ids, qrels pointing nowhere, no positives) is left to the caller.
    """

    kind: str
    """`beir`, `pairs`, `msmarco`, `classes`, `triples`, `stdlib`, `corpus` or `training`."""
    min_relevance: int = 1
    """The lowest grade of its qrels that makes a document a positive; lower ones above 0 are no negatives either."""

    @property
    @abstractmethod
    def has_queries(self) -> bool:
        """Whether there are queries and qrels; a corpus alone has neither."""

    @abstractmethod
    def describe(self) -> dict[str, object]:
        """What was found, for the plan: JSON values, names of files without their directories."""

    @abstractmethod
    def fingerprint(self) -> dict[str, str]:
        """SHA-256 (hex) of the bytes behind each part, as they lie on disk; changes whenever the input does."""

    @abstractmethod
    def documents(self, problems: ProblemLog) -> Iterator[Document]:
        """Each document, in file order."""

    @abstractmethod
    def queries(self, problems: ProblemLog) -> Iterator[Query]:
        """Each query, in file order; none for a corpus alone."""

    @abstractmethod
    def qrels(self, problems: ProblemLog) -> Iterator[Judgment]:
        """Each judgment, in file order; none for a corpus alone."""

    closed_world: bool = False
    """Whether what is not judged is by default taken for a negative, unless a rule is asked for that doubts it."""

    @property
    def negatives_where(self) -> str | None:
        """The condition that is true of all pairs known to be negatives, for an input that knows this of every pair.

        Only such documents are mined then, and their relevance is 0. None: what is not judged is not known.
        """
        return None

    def column_names(self, table: Literal["documents", "queries"]) -> list[str] | None:
        """The columns that a table will have in the collection; None if only reading everything can tell."""
        return None

    def reads(self) -> Iterator[Path]:
        """What is read that may be a collection of hnmine's own, or lie in one; mostly nothing."""
        return iter(())

    def notes(self) -> dict[str, str]:
        """What a person should be told about the input although it is no mistake; mostly nothing."""
        return {}

    def negatives(self, problems: ProblemLog) -> Iterator[Judgment]:
        """Each pair that the input itself calls a negative, once, in file order; mostly none.

        The grade is 0 or less, and means nothing: what was judged is in the qrels.
        """
        return iter(())

    def curated(self, problems: ProblemLog) -> Iterator[Judgment]:
        """Each pair of a query and a document that was written as its negative, as `negatives`; mostly none."""
        return iter(())

    @property
    def score_scale(self) -> Scale | None:
        """The scale of the scores that judgments and negatives may have; None if they never have one."""
        return None

    def close(self) -> None:  # noqa: B027 (most sources hold nothing)
        """Give back temporary files; the source cannot be read afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Findings:
    """Collects what is wrong with an input as a whole, so that all of it is told at once."""

    def __init__(self) -> None:
        self._errors: list[HnmineError] = []

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Keep an `InputError` or `UsageError` of the block for later."""
        try:
            yield
        except (InputError, UsageError) as error:
            self._errors.append(error)

    def add(self, error: HnmineError) -> None:
        """Keep `error` for later."""
        self._errors.append(error)

    def __bool__(self) -> bool:
        return bool(self._errors)

    def raise_if_any(self) -> None:
        """Raise what was found: one error as it is, several as one (`UsageError` only if all are)."""
        if not self._errors:
            return
        if len(self._errors) == 1:
            raise self._errors[0]
        joined = "\n".join(dict.fromkeys(error.render() for error in self._errors))
        usage = all(isinstance(error, UsageError) for error in self._errors)
        raise (UsageError if usage else InputError)(joined)


def digest_files(files: Sequence[InputFile]) -> str:
    """SHA-256 (hex) of one file's bytes, or of the list of digests of several."""
    digests = [digest_file(file.path) for file in files]
    return digests[0] if len(digests) == 1 else digest_json(digests)
