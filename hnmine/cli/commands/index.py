"""`index bm25`, `dense`, `sparse`, `late`."""

from __future__ import annotations

from hnmine import options as opt
from hnmine.cli.arguments import APPEND, COMMON, ESTIMATE, EXECUTOR, INPUT, MODEL, SHARD, Data, Output
from hnmine.cli.carry_out import cache, carry_out, stoppable
from hnmine.cli.flags import Given, with_flags


@with_flags((opt.Bm25Options, "BM25 index"), INPUT, COMMON, SHARD, EXECUTOR, ESTIMATE, APPEND)
def index_bm25(data: Data, output: Output, given: Given) -> None:
    """Build a BM25 index over the documents of DATA.

    \b
      hnmine index bm25 beir/scifact -o scifact/indexes/bm25
      hnmine index bm25 gesetze --language german -o gesetze/indexes/bm25
    """
    from hnmine import api

    how, terminal = stoppable(given)
    stage = api.prepare_index_bm25(
        data,
        options=given.record(opt.Bm25Options),
        input=given.record(opt.InputOptions),
        cache=cache(given),
        how=how,
    )
    carry_out("index bm25", stage, output, given, how, terminal)


@with_flags((opt.DenseOptions, "Dense index"), INPUT, COMMON, SHARD, EXECUTOR, ESTIMATE, APPEND, MODEL)
def index_dense(data: Data, output: Output, given: Given) -> None:
    """Encode the documents and queries of DATA.

    \b
      hnmine index dense beir/scifact -o scifact/indexes/minilm
      hnmine index dense beir/scifact -o scifact/indexes/e5 --model intfloat/e5-small-v2 \\
          --query-prompt "query: " --document-prompt "passage: "
    """
    from hnmine import api

    how, terminal = stoppable(given)
    stage = api.prepare_index_dense(
        data,
        options=given.record(opt.DenseOptions),
        input=given.record(opt.InputOptions),
        cache=cache(given),
        how=how,
    )
    carry_out("index dense", stage, output, given, how, terminal)


@with_flags((opt.SparseOptions, "Sparse index"), INPUT, COMMON, SHARD, EXECUTOR, ESTIMATE, APPEND, MODEL)
def index_sparse(data: Data, output: Output, given: Given) -> None:
    """Encode DATA with a learned sparse model (SPLADE).

    \b
      hnmine index sparse beir/scifact -o scifact/indexes/splade --model models/splade
    """
    from hnmine import api

    how, terminal = stoppable(given)
    stage = api.prepare_index_sparse(
        data,
        options=given.record(opt.SparseOptions),
        input=given.record(opt.InputOptions),
        cache=cache(given),
        how=how,
    )
    carry_out("index sparse", stage, output, given, how, terminal)


@with_flags((opt.LateOptions, "Late-interaction index"), INPUT, COMMON, SHARD, EXECUTOR, ESTIMATE, APPEND, MODEL)
def index_late(data: Data, output: Output, given: Given) -> None:
    """Encode DATA with a late-interaction model (ColBERT).

    \b
      hnmine index late beir/scifact -o scifact/indexes/colbert --model models/colbert
    """
    from hnmine import api

    how, terminal = stoppable(given)
    stage = api.prepare_index_late(
        data,
        options=given.record(opt.LateOptions),
        input=given.record(opt.InputOptions),
        cache=cache(given),
        how=how,
    )
    carry_out("index late", stage, output, given, how, terminal)
