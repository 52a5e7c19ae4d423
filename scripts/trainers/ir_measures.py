"""Reads TREC files with `ir_measures` and trec_eval (`pytrec_eval`), and lets both evaluate the run.

Every line must come back; precision at the number of picked documents must be what the files themselves say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from _proof import CannotRun, Cell, Settings, check, main

EXPORTS = ("trec",)


def prove(export: str, place: Path, args: Settings) -> Iterator[Cell]:
    """Read run and qrels, compare them with the files, evaluate."""
    try:
        import ir_measures
        import pytrec_eval
    except ImportError as error:
        raise CannotRun(f"ir_measures or pytrec_eval is not installed ({error})") from None
    run_file, qrels_file = place / "run.trec", place / "qrels.trec"
    run_lines, qrels_lines = (
        [line.split(" ") for line in file.read_text("utf-8").split("\n") if line] for file in (run_file, qrels_file)
    )
    run, qrels = (list(read(str(file))) for read, file in (
        (ir_measures.read_trec_run, run_file), (ir_measures.read_trec_qrels, qrels_file),
    ))  # fmt: skip
    check([(r.query_id, r.doc_id, r.score) for r in run] == [(q, d, float(s)) for q, _, d, _, s, _ in run_lines], "run")
    check(
        [(r.query_id, r.doc_id, r.relevance) for r in qrels] == [(q, d, int(g)) for q, _, d, g in qrels_lines], "qrels"
    )
    size = max(Counter(row.query_id for row in run).values())
    relevant = {(row.query_id, row.doc_id) for row in qrels if row.relevance > 0}
    check(relevant <= {(row.query_id, row.doc_id) for row in run}, "a positive is not in the run")
    wanted = Counter(row.query_id for row in run if (row.query_id, row.doc_id) in relevant)
    measure = ir_measures.P @ size
    for found in ir_measures.iter_calc([measure], qrels, run):
        check(abs(found.value - wanted[found.query_id] / size) < 1e-6, f"{measure} of {found.query_id}: {found.value}")
    with run_file.open(encoding="utf-8") as one, qrels_file.open(encoding="utf-8") as other:
        parsed_run, parsed_qrels = pytrec_eval.parse_run(one), pytrec_eval.parse_qrel(other)
    check(sum(map(len, parsed_run.values())) == len(run), "trec_eval's run")
    for query_id, values in pytrec_eval.RelevanceEvaluator(parsed_qrels, {"num_rel_ret"}).evaluate(parsed_run).items():
        check(values["num_rel_ret"] == wanted[query_id], f"trec_eval: relevant documents of {query_id}")
    yield Cell(
        trainer="ir_measures and pytrec_eval",
        version=f"ir_measures {version('ir_measures')}, pytrec_eval-terrier {version('pytrec_eval-terrier')}",
        rows_out=len(parsed_run),
        note=f"readers and evaluation: {len(run):,} lines of the run, {len(qrels):,} of the qrels; a row is a query",
    )


if __name__ == "__main__":
    main(prove)
