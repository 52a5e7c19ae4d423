"""Which options of an export make sense together, and which its format has room for; told before any work."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from hnmine.errors import InputError, ProblemLog, UsageError
from hnmine.options import ExportOptions, Format, Pad
from hnmine.stages.formats import FORMATS, TrainingFormat


def check_layout(options: ExportOptions) -> None:
    """Raise `UsageError` for options that make no sense, or that the format has no room for, whatever the data."""
    limits = {
        "--max-positives": options.max_positives,
        "--negatives": options.negatives,
        "--rows-per-file": options.rows_per_file,
        "--max-rows": options.max_rows,
    }
    for flag, value in limits.items():
        if value is not None and value < 1:
            raise UsageError(f"{flag} {value}: at least 1")
    if options.validation is not None and not 0 < options.validation < 1:
        raise UsageError(f"--validation {options.validation:g}: not a share", expected="between 0 and 1, as 0.05")
    _require(options.pad is not Pad.NONE, f"--pad {options.pad}", options.format, *_FIXED)
    _require(options.instruction is not None, "--instruction", options.format, *_TEXTS)
    _require(options.document_instruction is not None, "--document-instruction", options.format, *_TEXTS)
    _require(options.difficulty, "--difficulty", options.format, *_FREE)
    _require(options.scores, "--scores", options.format, *_SCORES)
    _require(options.weight, "--weight", options.format, *_WEIGHTS)
    _require(bool(options.columns), "--columns", options.format, *_FREE)
    _require(options.rows_per_file is not None, "--rows-per-file", options.format, *_SINGLE)


def refuse_ids(without: str, what: str, remedy: str, **ids: pa.Array | pa.ChunkedArray) -> None:
    """Raise `InputError` for ids, by what they are of, that match `without`: readers of `what` would change them."""
    problems = ProblemLog()
    for noun, own in ids.items():
        for identity in own.filter(pc.match_substring_regex(own, without)).to_pylist():
            problems.add(f"{noun} id with white space or quotation mark", noun, repr(identity))
    if problems:
        raise InputError(
            f"{what}: ids that its readers would split or change\n{problems.render()}",
            expected="ids without white space (in columns between tabs: without tabs, line ends, spaces at an end)",
            remedy=remedy,
        )


_FIXED = "has rows of no fixed width", lambda form: form.is_fixed
_TEXTS = "has ids and no texts", lambda form: form.has_texts
_FREE = "has columns that are fixed", lambda form: form.has_free_columns
_SCORES = "has no place for scores", lambda form: form.takes_scores
_WEIGHTS = "has no place for weights", lambda form: form.takes_weights
_SINGLE = "is a directory of files with fixed names", lambda form: not form.beside


def _require(is_asked: bool, flag: str, form: Format, lacks: str, has: Callable[[TrainingFormat], bool]) -> None:
    """Raise `UsageError` for an option that a format has no room for."""
    if is_asked and not has(FORMATS[form]):
        able = ", ".join(name for name, known in FORMATS.items() if has(known))
        raise UsageError(f"{flag}: --format {form} {lacks}", expected=f"--format {able}")
