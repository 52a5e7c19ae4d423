"""Requests and results as files, for batches that people run themselves (OpenAI's Batch API, JSONL).

{"custom_id", "method": "POST", "url": "/v1/chat/completions", "body"}
{"custom_id", "response": {"status_code", "body"}, "error"}
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from hnmine.engines.answers import Answers
from hnmine.engines.asking import Request
from hnmine.engines.chat import PATH, answer_of
from hnmine.errors import ProblemLog, UsageError
from hnmine.files.atomic import replacing

_KEY = re.compile(r"[0-9a-f]{64}")


def write_requests(path: Path, requests: Mapping[str, Request]) -> None:
    """Write requests by their keys, which are their `custom_id`; all or nothing."""
    with replacing(path) as pending, open(pending, "w", encoding="utf-8") as stream:
        for key, request in requests.items():
            line = {"custom_id": key, "method": "POST", "url": f"/v1{PATH}", "body": request.body}
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")


def import_results(kept: Answers, path: Path) -> Counter[str]:
    """Keep the answers of a file of results, in any order; returns how many are `new`, `known`, and `failed`.

    Lines that tell an error count as failed: nobody has answered them. An answer that is kept already stays. Raises
    `InputError` for lines that are no results, before anything is kept.
    """
    problems, counts = ProblemLog(), Counter[str]()
    answers = {}
    if not path.is_file():
        raise UsageError(f"--judge-import {path}: no such file", expected="the results of a batch (JSONL)")
    with open(path, encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                result = json.loads(line)
                key, response = result["custom_id"], result.get("response") or {}
                if not _KEY.fullmatch(key):
                    raise ValueError(f"custom_id {key!r} was never exported")
                if result.get("error") or response.get("status_code") != 200:
                    counts["failed"] += 1
                else:
                    answers[key] = answer_of(response["body"])
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                problems.add("no result of a batch that --judge-export wrote", f"{path}:{number}", error)
    problems.raise_if_any("give the file that the batch's output, or its error file, was downloaded to")
    for key, answer in answers.items():
        with kept.asking(key) as entry:
            counts["known" if entry.record.answer is not None else "new"] += 1
            if entry.record.answer is None:
                entry.keep(answer)
    return counts
