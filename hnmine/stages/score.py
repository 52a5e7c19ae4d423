"""`score`: a reranker's opinion of the candidates, as one more column of evidence."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnmine.core.evidence import Bools, Ints
from hnmine.core.grouped import order_among
from hnmine.core.rules.fused import fuse, places
from hnmine.engines.http_json import is_remote
from hnmine.engines.models import resolve_model
from hnmine.engines.remote_reranker import RemoteReranker
from hnmine.engines.reranker import CrossEncoderReranker, Reranker
from hnmine.engines.retriever import Scores
from hnmine.errors import UsageError
from hnmine.execute.local import Block, Needs
from hnmine.files.artefact import Artefact, Draft, Json
from hnmine.files.candidates import (
    CandidatesTable,
    ScoreInfo,
    floats,
    names_of,
    nullable_floats,
    query_offsets,
    ranks,
    similarities,
)
from hnmine.files.collection import Collection, rows_of
from hnmine.files.tables import digest_table, part_name, write_table
from hnmine.hashing import digest_json
from hnmine.options import FilterOptions, ScoreOptions, as_plain
from hnmine.schema import DOC_ID, IS_POSITIVE, QUERY_ID, Kind, score_column, scored_column
from hnmine.stages.encoding import model_needs
from hnmine.stages.filter import Filter
from hnmine.stages.indexes import check_name
from hnmine.stages.stage import Stage, block_size, cut, require_made_from
from hnmine.stages.until import rule_settings

BLOCK = 256


def score_name(options: ScoreOptions) -> str:
    """The name of the score's column: as asked, else the last part of the reranker's name or path.

    Of a remote one it is the last part of `remote_model`, else `reranker`: its address says nothing.
    """
    model = (options.remote_model or "reranker") if is_remote(options.reranker) else options.reranker
    return options.name or model.rstrip("/").rsplit("/", 1)[-1]


class Score(Stage):
    """Scores rows of a candidates table with a cross-encoder: all, the head of each query, or as many as rules need.

    `rules` are those of `options.until`; without it every row is scored. `reranker` is one that is there already, in
    place of the model that the options name; `options.name` names it.
    """

    kind = Kind.CANDIDATES
    label = "score"
    unit = "pairs"

    def __init__(
        self,
        collection: Collection,
        candidates: Artefact,
        options: ScoreOptions,
        *,
        rules: FilterOptions | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        require_made_from(collection.artefact, candidates)
        if options.until is not None and options.until < 1:
            raise UsageError(f"--until {options.until}: at least 1")
        if options.until is not None and options.top is not None:
            raise UsageError("--until and --top both say which rows are scored", remedy="give one of them")
        self.collection = collection
        self.table = CandidatesTable(candidates)
        self.options = options
        if options.top is not None and options.top < 1:
            raise UsageError(f"--top {options.top}: at least 1")
        self.block = block_size(BLOCK)
        self.name = check_name(score_name(options))
        if self.table.score(self.name) is not None:
            raise UsageError(f"the candidates have a score called {self.name!r} already", remedy="--name OTHER")
        self._notes: Json = {}
        self.reranker = reranker if reranker is not None else self._load()
        self.chosen = self.table.sample(options.limit, options.seed)
        self.info = ScoreInfo(name=self.name, scale=self.reranker.scale, origin="reranker")
        self.rules: Filter | None = None
        if options.until is not None:
            self.rules = self._stopping_rules(options.until, rules or FilterOptions())

    def _stopping_rules(self, enough: int, rules: FilterOptions) -> Filter:
        """The filter whose needs end the scoring; the score's own record says what they are."""
        info = replace(self.info, until={"enough": enough})
        found = Filter(self.collection, self.table.artefact, replace(rules, limit=None), adding=info)
        if found.partial != info:
            judge = found.judge.name if found.judge else "nothing"
            raise UsageError(
                f"--until: the rules judge by {judge} and never look at the score {self.name!r}",
                remedy="leave judge_by out of the [filter] table of --rules, or name this score there",
            )
        self.info = replace(info, until={**info.until, "rules": rule_settings(found), "fitted": found.fitted})
        self._notes["scored until"] = f"{enough} candidates of each query pass: {found.notes()['false negatives']}"
        return found

    def _load(self) -> Reranker:
        asked = self.options
        if is_remote(asked.reranker):
            remote = RemoteReranker(asked)
            self._notes["reranker"] = f"{remote.describe()['remote']['model']} at {asked.reranker}"
            return remote
        if asked.remote_model is not None:
            raise UsageError("--remote-model goes with a URL as --reranker")
        resolved = resolve_model(
            asked.reranker, revision=asked.revision, organization="cross-encoder", backend=asked.backend
        )
        self._notes["reranker"] = resolved.note
        return CrossEncoderReranker(resolved, asked)

    def needs(self) -> Needs:
        """What the reranker runs on."""
        return model_needs(self.options.device) if isinstance(self.reranker, CrossEncoderReranker) else Needs()

    def replanned(self, changes: Json) -> Self | None:
        """This stage with other values of some options; None for a reranker that is not run here."""
        if not isinstance(self.reranker, CrossEncoderReranker):
            return None
        other = copy.copy(self)
        other.options = replace(self.options, **changes)
        other.reranker = self.reranker.with_options(other.options)
        other.changes = {**self.changes, **changes}
        return other

    def inputs(self) -> Mapping[str, Artefact]:
        """The collection and the candidates."""
        return {"collection": self.collection.artefact, "candidates": self.table.artefact}

    def parameters(self) -> Json:
        """The reranker by its bytes, and everything that moves floating point."""
        hidden = {"reranker", "remote_model", "device", "until"}  # said by the reranker and by the score's own record
        return {
            "options": {k: v for k, v in as_plain(self.options).items() if k not in hidden},
            "reranker": self.reranker.describe(),
            "scores": [s.to_plan() for s in [*self.table.scores, self.info]],
            **self.table.judges_to_plan(),
            "rank_by": self.table.artefact.plan["rank_by"],
            "block": self.block,
        }

    def blocks(self) -> Sequence[Block]:
        """Blocks of 256 queries; sizes count pairs, of which `--until` scores a part."""
        cuts = cut(len(self.chosen), self.block, "scores")
        return [Block(name=b.name, index=b.index, size=self._pairs(self._queries(b.index))) for b in cuts]

    def _queries(self, index: int) -> Ints:
        return self.chosen[index * self.block : (index + 1) * self.block]

    def sizes(self) -> Json:
        """Pairs to score, or among which to score; with `top`, about."""
        pairs = "pairs" if self.rules is None else "pairs_at_most"
        return {"queries": len(self.chosen), pairs: self._pairs(self.chosen)}

    def _pairs(self, queries: Ints) -> int:
        pairs = self.table.size(queries)
        return pairs if self.options.top is None else min(pairs, self.options.top * len(queries))

    def notes(self) -> Json:
        """Which model was taken, and from where."""
        return dict(self._notes)

    @property
    def anew(self) -> str | None:
        """The rules of `--until` may look at all candidates and at any column of the collection."""
        return None if self.rules is None else "--until goes by rules that are fitted to all candidates"

    def made_from(self, block: Block) -> str | None:
        """The block's rows with their texts: whole blocks, for a score's last bits depend on the pairs beside it."""
        if self.anew is not None:
            return None
        table = self.table.read(self._queries(block.index))
        return digest_json([digest_table(table), _Pairs(self.collection, table, self.reranker).digest()])

    def work(self, block: Block, draft: Draft) -> None:
        """Score the pairs of one block of queries."""
        queries = self._queries(block.index)
        table = self.table.read(queries)
        pairs = _Pairs(self.collection, table, self.reranker)
        if self.rules is None:
            asked = self._asked(table, pairs.owner)
            scores = np.full(table.num_rows, np.nan, np.float32)
            scores[asked] = pairs.score(np.flatnonzero(asked))
        else:
            scores, asked = self._walked(self.rules, queries, pairs)
        scored = table.append_column(score_column(self.name), nullable_floats(scores))
        if self.rules is not None:
            scored = scored.append_column(scored_column(self.name), pa.array(asked))
        name = part_name(block.index)
        nulls = {s.name: scored[score_column(s.name)].null_count for s in self.table.scores}
        nulls[self.name] = int((~np.isfinite(scores)).sum())
        counts: Json = {"queries": pairs.queries, "candidates": len(scores), "null_scores": nulls}
        if self.rules is not None:
            counts["not_scored"] = {self.name: int((~asked).sum())}
        rows = write_table(draft.path / name, scored)
        draft.commit(block.name, {name: rows}, counts, made_from=self.made_from(block))

    def _asked(self, table: pa.Table, owner: Ints) -> Bools:
        """The rows to score: with `top`, the positives and the first rows of each query in the fused order."""
        is_positive = np.asarray(table[IS_POSITIVE].to_numpy(zero_copy_only=False), np.bool_)
        if self.options.top is None:
            return np.ones(len(owner), np.bool_)
        signals = places(ranks(table, name) for name in names_of(table, "rank_"))
        signals += [floats(table, score.name) for score in self.table.scores if score.origin == "reranker"]
        signals += similarities(table, "sim_positive_").values()
        place = order_among(owner, fuse(owner, signals, ~is_positive), ~is_positive)
        return is_positive | (place <= self.options.top)

    def _walked(self, rules: Filter, queries: npt.NDArray[np.int64], pairs: _Pairs) -> tuple[Scores, Bools]:
        """(score of every row, whether it was asked for), wave by wave over all queries of the block."""
        table, order = rules.in_order(rules.table.read(queries))
        walk = rules.walk(self.info, table, rules.evidence(table, queries))
        scores, asked = np.full(len(order), np.nan), np.zeros(len(order), np.bool_)
        while len(rows := np.flatnonzero(walk.wanted(scores, asked))):
            scores[rows] = pairs.score(order[rows])
            asked[rows] = True
        place = np.argsort(order)
        return scores[place].astype(np.float32), asked[place]


class _Pairs:
    """The texts of a block's rows, read as they are needed."""

    def __init__(self, collection: Collection, table: pa.Table, reranker: Reranker) -> None:
        offsets = query_offsets(table[QUERY_ID])
        self._collection = collection
        self._reranker = reranker
        self._documents = rows_of(collection.doc_ids, table[DOC_ID])
        self.owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        query_rows = rows_of(collection.query_ids, table[QUERY_ID].take(pa.array(offsets[:-1])))
        self._queries = collection.query_texts(query_rows)

    @property
    def queries(self) -> int:
        """How many queries there are."""
        return len(self._queries)

    def digest(self) -> str:
        """Digest of the queries' texts and of the documents' texts, each document once, by row."""
        texts = self._collection.document_text_array(np.unique(self._documents))
        queries = pa.table({"texts": pa.array(self._queries, pa.string())})
        return digest_json([digest_table(queries), digest_table(pa.table({"texts": texts}))])

    def score(self, rows: npt.NDArray[np.int64]) -> Scores:
        """The reranker's score of each of the given rows of the table."""
        documents = self._collection.document_texts(self._documents[rows])
        owners = self.owner[rows].tolist()
        return self._reranker.score([(self._queries[q], d) for q, d in zip(owners, documents, strict=True)])
