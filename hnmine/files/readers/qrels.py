"""Reads qrels in BEIR's form (query, document, grade; tabs) and TREC's (query, iteration, document, grade).

The form is told by content. Where a file has tabs, they alone separate, so ids with spaces survive; four columns
without tabs are separated by white space, as trec_eval does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from hnmine.errors import ProblemLog
from hnmine.files.readers.fields import BadRecord, Place, checked_id
from hnmine.files.readers.records import Judgment
from hnmine.files.readers.streams import InputFile, text_lines

_GRADE = re.compile(r"[+-]?[0-9]+(\.0*)?", re.ASCII)
_HEADER_ENDS = {"score", "grade", "rel", "relevance", "label"}
_LOOKED_AT = 100


def read_qrels(file: InputFile, problems: ProblemLog) -> Iterator[Judgment]:
    """Each judgment in file order, grade 0 and negative grades included; lines that are none go to `problems`.

    A grade written `1.0` is 1; `0.5` is a problem.
    """
    separator, width = _form(file)
    first = True
    for line, content in text_lines(file, problems):
        if not content.strip(" "):
            continue
        fields = content.split(separator)
        if first and fields and fields[-1].strip().lower() in _HEADER_ENDS:
            first = False
            continue
        first = False
        try:
            if len(fields) != width:
                between = "tabs" if separator else "white space"
                raise BadRecord(
                    "wrong number of columns",
                    f"{len(fields)} instead of {width} with {between} between: {content[:80]}",
                )
            query_id, doc_id = checked_id(fields[0]), checked_id(fields[-2])
            grade = _grade(fields[-1].strip())
        except BadRecord as bad:
            Place(file, line).report(problems, bad)
            continue
        yield Judgment(query_id=query_id, doc_id=doc_id, grade=grade, file=file.shown, line=line)


def _form(file: InputFile) -> tuple[str | None, int]:
    """The separator (None: white space) and the number of columns, from the first line that fits a form."""
    trec = False
    for _, content in islice(text_lines(file, ProblemLog()), _LOOKED_AT):
        trec = trec or ("\t" not in content and len(content.split()) > 4)
        if (width := len(content.split("\t"))) in (3, 4):
            return "\t", width
        if len(content.split()) == 4:
            return None, 4
    return (None, 4) if trec else ("\t", 3)


def _grade(text: str) -> int:
    if not _GRADE.fullmatch(text):
        raise BadRecord("grade not an integer", text)
    if len(text) > 20 or not -(2**31) <= (grade := int(text.split(".")[0])) < 2**31:
        raise BadRecord("grade out of range", text)
    return grade
