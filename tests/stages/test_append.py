"""`--append`: to the byte what is made without, and nothing is made twice that is still the same."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hnmine
from hnmine.engines.encoder import SentenceTransformerEncoder
from hnmine.errors import ArtefactError, UsageError
from hnmine.execute.local import Execution
from hnmine.stages.chain import RunOptions
from hnmine.stages.stage import Outcome
from tests.conftest import WORDS
from tests.e2e.harness import contents, invoke, write_beir

SIZE = 4
"""Rows of a block."""
Texts = dict[str, str]
Made = tuple[dict[str, bytes], Outcome]


def sentences(seed: int, count: int) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS.split()[:20], draw.integers(2, 9))) for _ in range(count)]


DOCUMENTS = {f"d{i:02d}": text for i, text in enumerate(sentences(1, 19))}
QUERIES = {f"q{i:02d}": text for i, text in enumerate(sentences(2, 11))}


def first(texts: Texts, count: int) -> Texts:
    return dict(list(texts.items())[:count])


@dataclass(frozen=True)
class State:
    """The data at one moment."""

    documents: Texts
    queries: Texts

    def write(self, folder: Path) -> Path:
        """As a BEIR directory; query i's positive is document i."""
        pairs = zip(self.queries, self.documents, strict=False)
        return write_beir(folder, self.documents, self.queries, [(q, d, 1) for q, d in pairs])


ALL = State(DOCUMENTS, QUERIES)
STEPS = {
    "nothing new": (ALL, ALL),
    "both": (State(first(DOCUMENTS, 14), first(QUERIES, 9)), ALL),
    "only queries": (State(DOCUMENTS, first(QUERIES, 5)), ALL),
    "only documents": (State(first(DOCUMENTS, 12), QUERIES), ALL),
    "a document changed": (State({**DOCUMENTS, "d05": "a baby rides a horse"}, QUERIES), ALL),
    "documents removed": (ALL, State(first(DOCUMENTS, 17), QUERIES)),
}


def cut(texts: Texts) -> list[list[str]]:
    own = list(texts.values())
    return [own[start : start + SIZE] for start in range(0, len(own), SIZE)]


def unchanged(old: Texts, new: Texts) -> int:
    """How many blocks of texts are what they were."""
    return sum(before == after for before, after in zip(cut(old), cut(new), strict=False))


@pytest.fixture(scope="module", params=list(STEPS))
def step(request: pytest.FixtureRequest) -> tuple[State, State]:
    return STEPS[request.param]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", str(SIZE))


class Bench:
    """Everything made from the old state, from the new one, and from the new one on top of the old."""

    def __init__(self, root: Path, old: State, new: State) -> None:
        self.root = root
        self.old, self.new = old, new
        for name, state in (("old", old), ("new", new)):
            hnmine.ingest(state.write(root / f"{name}-data"), root / name / "collection")
        self._made: dict[str, Made] = {}

    def make(self, name: str, build: Callable[[Path, Path, Execution], Outcome]) -> tuple[Made, Made]:
        """(made at once, appended): what `build` gave from the new state, without and with the artefact of the old."""
        if name not in self._made:
            old = build(self.root / "old", self.root / "old" / name, Execution())
            new = build(self.root / "new", self.root / "new" / name, Execution())
            assert old.blocks_taken_over == new.blocks_taken_over == 0
            self._made[name] = (contents(new.path), new)
        path = self.root / "appended" / name
        again = build(self.root / "new", path, Execution(append=self.root / "old" / name))
        return self._made[name], (contents(path), again)


@pytest.fixture(scope="module")
def bench(step: tuple[State, State], tmp_path_factory: pytest.TempPathFactory) -> Bench:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HNMINE_TEST_BLOCK_SIZE", str(SIZE))
        return Bench(tmp_path_factory.mktemp("append"), *step)


def check(made: tuple[Made, Made], taken: int) -> None:
    """Equal bytes, and so many blocks not made again."""
    (at_once, plain), (appended, again) = made
    assert appended == at_once
    assert again.artefact is not None
    assert plain.artefact is not None
    assert again.artefact.fingerprint == plain.artefact.fingerprint
    assert (again.blocks_taken_over, again.blocks_done_now) == (taken, plain.blocks_total - taken)
    assert again.notes["taken over"].startswith(f"{taken} of {plain.blocks_total} blocks")


def bm25(place: Path, output: Path, how: Execution) -> Outcome:
    return hnmine.index_bm25(place, output, options=hnmine.Bm25Options(language="none"), how=how)


def dense(encoder: Path) -> Callable[[Path, Path, Execution], Outcome]:
    options = hnmine.DenseOptions(model=str(encoder), dtype="fp32", batch_tokens=64)  # type: ignore[arg-type]
    return lambda place, output, how: hnmine.index_dense(place, output, options=options, how=how)


def test_bm25(bench: Bench) -> None:
    check(bench.make("bm25", bm25), unchanged(bench.old.documents, bench.new.documents))


def test_dense(bench: Bench, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode, texts = SentenceTransformerEncoder.encode, list[int]()

    def counting(self: Any, given: Any, side: Any) -> Any:
        texts.append(len(given))
        return encode(self, given, side)

    monkeypatch.setattr(SentenceTransformerEncoder, "encode", counting)
    made = bench.make("dense", dense(tiny_encoder))
    (_, plain), (_, again) = made
    pairs = [(bench.old.documents, bench.new.documents), (bench.old.queries, bench.new.queries)]
    check(made, sum(unchanged(*pair) for pair in pairs))
    fresh = sum(len(after) for old, new in pairs for after in cut(new) if after not in cut(old))
    assert sum(texts[len(texts) - again.blocks_done_now :]) == fresh
    assert again.counts == plain.counts


def test_sparse(bench: Bench, tiny_sparse_encoder: Path) -> None:
    options = hnmine.SparseOptions(model=str(tiny_sparse_encoder), dtype="fp32")  # type: ignore[arg-type]
    made = bench.make("sparse", lambda place, output, how: hnmine.index_sparse(place, output, options=options, how=how))
    taken = unchanged(bench.old.documents, bench.new.documents) + unchanged(bench.old.queries, bench.new.queries)
    check(made, taken)


def late(encoder: Path) -> Callable[[Path, Path, Execution], Outcome]:
    options = hnmine.LateOptions(model=str(encoder), dtype="fp32")  # type: ignore[arg-type]
    return lambda place, output, how: hnmine.index_late(place, output, options=options, how=how)


def test_late(bench: Bench, tiny_late_encoder: Path) -> None:
    made = bench.make("late", late(tiny_late_encoder))
    taken = unchanged(bench.old.documents, bench.new.documents) + unchanged(bench.old.queries, bench.new.queries)
    check(made, taken)


def test_mine_and_score(bench: Bench, tiny_encoder: Path, tiny_cross_encoder: Path) -> None:
    """Of every query's candidates each is one among all documents: only where these stay, blocks of queries do."""
    bench.make("bm25", bm25)
    bench.make("dense", dense(tiny_encoder))
    mining = hnmine.MineOptions(top_k=5, random=2)

    def mine(place: Path, output: Path, how: Execution) -> Outcome:
        return hnmine.mine(place, output, indexes=[place / "bm25", place / "dense"], options=mining, how=how)

    scoring = hnmine.ScoreOptions(reranker=str(tiny_cross_encoder), dtype="fp32", name="ce")  # type: ignore[arg-type]

    def score(place: Path, output: Path, how: Execution) -> Outcome:
        return hnmine.score(place, place / "candidates", output, options=scoring, how=how)

    same_documents = bench.old.documents == bench.new.documents
    taken = unchanged(bench.old.queries, bench.new.queries) if same_documents else 0
    check(bench.make("candidates", mine), taken)
    check(bench.make("scored", score), taken)


def test_mine_late(bench: Bench, tiny_late_encoder: Path) -> None:
    bench.make("late", late(tiny_late_encoder))

    def mine(place: Path, output: Path, how: Execution) -> Outcome:
        return hnmine.mine(place, output, indexes=[place / "late"], options=hnmine.MineOptions(top_k=5), how=how)

    same_documents = bench.old.documents == bench.new.documents
    check(bench.make("late-candidates", mine), unchanged(bench.old.queries, bench.new.queries) * same_documents)


def test_scores_of_some_rows_are_made_anew(grown: Path, tiny_cross_encoder: Path) -> None:
    """What `--until` scores depends on rules that are fitted to all candidates."""
    options = hnmine.ScoreOptions(reranker=str(tiny_cross_encoder), dtype="fp32", name="ce", until=1)  # type: ignore[arg-type]
    rules = hnmine.FilterOptions(max_score=5.0)
    run, how = grown / "run", Execution(append=grown / "run" / "scored")
    first_time = hnmine.score(run, run / "candidates", run / "scored", options=options, rules=rules)
    again = hnmine.score(run, run / "candidates", grown / "again", options=options, rules=rules, how=how)
    assert again.notes["taken over"].startswith("nothing: --until")
    assert again.artefact is not None
    assert first_time.artefact is not None
    assert again.artefact.fingerprint == first_time.artefact.fingerprint


@pytest.fixture
def grown(tmp_path: Path) -> Path:
    """A run of BM25 alone, and beside it the data that it has become."""
    old, new = STEPS["only queries"]
    hnmine.run(old.write(tmp_path / "old"), tmp_path / "run", options=CHAIN)
    new.write(tmp_path / "new")
    return tmp_path


CHAIN = RunOptions(bm25=hnmine.Bm25Options(language="none"), dense=None, filter=hnmine.FilterOptions(num_negatives=2))


def test_a_run_is_appended_to_by_one_word(grown: Path) -> None:
    plain = [grown / "new", "-o", grown / "plain", "--no-dense", "--language", "none", "-n", 2]
    assert invoke("run", *plain).code == 0
    done = invoke("run", grown / "new", "-o", grown / "t.parquet", *plain[3:], "--append", grown / "run", "--json")
    assert done.code == 0
    blocks = {name: outcome["blocks"]["taken_over"] for name, outcome in done.json.items()}
    assert blocks == {"ingest": 0, "index bm25": 5, "mine": 1, "filter": 0, "export": 0}
    assert "taken over: 5 of 5 blocks, 19 documents, from " in done.stderr
    for part in ("collection", "indexes/bm25", "candidates", "decisions"):
        assert contents(grown / "plain" / part) == contents(grown / "t.hnmine" / part)
    assert (grown / "t.parquet").read_bytes() == (grown / "plain" / "triplets.parquet").read_bytes()


def test_the_same_command_again_needs_the_earlier_run_no_more(grown: Path) -> None:
    how = Execution(append=grown / "run" / "indexes" / "bm25")
    hnmine.ingest(grown / "new", grown / "collection")
    for taken in (5, 0):
        assert bm25(grown / "collection", grown / "bm25", how).blocks_taken_over == taken
        how = Execution(append=grown / "gone")


def test_shards_take_over_their_own_blocks(grown: Path) -> None:
    hnmine.ingest(grown / "new", grown / "collection")
    earlier = grown / "run" / "indexes" / "bm25"
    taken = [
        bm25(grown / "collection", grown / "bm25", Execution(append=earlier, shard=(i, 2))).blocks_taken_over
        for i in (0, 1)
    ]
    assert taken == [3, 2]
    merged = hnmine.merge(grown / "bm25")
    assert contents(merged.path) == contents(bm25(grown / "collection", grown / "plain", Execution()).path)


def test_what_cannot_be_appended_to_is_refused(grown: Path) -> None:
    hnmine.ingest(grown / "new", grown / "collection")
    index, out = grown / "run" / "indexes" / "bm25", grown / "bm25"
    other, told = hnmine.Bm25Options(language="none", k1=0.9), r"(?s)options.k1: 1.5 -> 0.9.*leave --append out"
    with pytest.raises(ArtefactError, match=told):
        hnmine.index_bm25(grown / "collection", out, options=other, how=Execution(append=index))
    with pytest.raises(ArtefactError, match="is a candidates artefact"):
        bm25(grown / "collection", out, Execution(append=grown / "run" / "candidates"))
    with pytest.raises(ArtefactError, match="holds no hnmine index-bm25"):
        bm25(grown / "collection", out, Execution(append=grown / "nowhere"))
    assert not out.exists()
    with pytest.raises(UsageError, match="is the output itself"):
        bm25(grown / "collection", index, Execution(append=index))
    refused = invoke("run", grown / "new", "-o", grown / "run", "--no-dense", "--append", grown / "run")
    assert (refused.code, "is the output itself" in refused.stderr) == (2, True)
    refused = invoke("run", grown / "new", "-o", out, "--no-dense", "--append", grown / "nowhere")
    assert (refused.code, "nowhere does not exist" in refused.stderr) == (4, True)
    assert not out.exists()


def test_a_damaged_artefact_is_not_taken_over(grown: Path) -> None:
    hnmine.ingest(grown / "new", grown / "collection")
    index = grown / "run" / "indexes" / "bm25"
    file = index / "postings" / "counts.npy"
    file.write_bytes(file.read_bytes()[:-4] + b"\x07\0\0\0")
    with pytest.raises(ArtefactError, match=r"counts.npy is corrupt"):
        bm25(grown / "collection", grown / "bm25", Execution(append=index))


@pytest.mark.parametrize("links", [True, False])
def test_what_is_taken_over_stays_when_the_earlier_run_goes(grown: Path, links: bool) -> None:
    """Files are shared by links, or copied where there can be none."""

    def no_link(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    how = Execution(append=grown / "run")
    with pytest.MonkeyPatch.context() as patch:
        if not links:
            patch.setattr(os, "link", no_link)
        hnmine.run(grown / "new", grown / "appended", options=CHAIN, how=how)
    part = Path("candidates", "part-00000.parquet")
    assert (grown / "run" / part).samefile(grown / "appended" / part) is links
    before = contents(grown / "appended")
    shutil.rmtree(grown / "run")
    assert contents(grown / "appended") == before
    hnmine.filter(grown / "appended", grown / "again", options=CHAIN.filter)


def test_an_approximate_search_is_built_anew_and_all_queries_use_it(
    tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What lists of near documents find depends on all documents: hits of before are not what they would be now."""
    texts = {f"d{i:03d}": text for i, text in enumerate(sentences(5, 120))}
    grown = Bench(tmp_path_factory.mktemp("ann"), State(first(texts, 90), first(QUERIES, 8)), State(texts, QUERIES))
    options = hnmine.DenseOptions(model=str(tiny_encoder), dtype="fp32", ann="ivf", name="dense")  # type: ignore[arg-type]

    def index(place: Path, output: Path, how: Execution) -> Outcome:
        return hnmine.index_dense(place, output, options=options, how=how)

    def mine(place: Path, output: Path, how: Execution) -> Outcome:
        mining = hnmine.MineOptions(top_k=5)
        return hnmine.mine(place, output, indexes=[place / "dense"], options=mining, how=how)

    check(grown.make("dense", index), 22 + 2)
    check(grown.make("candidates", mine), 0)


def test_processes_append_too(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    grown = Bench(tmp_path_factory.mktemp("processes"), *STEPS["both"])
    grown.make("dense", dense(tiny_encoder))

    def mine(place: Path, output: Path, how: Execution) -> Outcome:
        how = dataclasses.replace(how, executor="local:2")
        mining = hnmine.MineOptions(top_k=5)
        return hnmine.mine(place, output, indexes=[place / "dense"], options=mining, how=how)

    made = grown.make("candidates", mine)
    check(made, 0)
    assert "in 5 of 19 documents" in made[1][1].notes["dense searched"]


def test_another_search_over_the_same_vectors_encodes_nothing(tiny_encoder: Path, tmp_path: Path) -> None:
    data = State({f"d{i}": text for i, text in enumerate(sentences(5, 60))}, QUERIES)
    hnmine.ingest(data.write(tmp_path / "data"), tmp_path / "c")
    flat, ivf = (
        hnmine.DenseOptions(model=str(tiny_encoder), dtype="fp32", ann=ann, name="dense")  # type: ignore[arg-type]
        for ann in ("flat", "ivf")
    )
    hnmine.index_dense(tmp_path / "c", tmp_path / "flat", options=flat)
    hnmine.index_dense(tmp_path / "c", tmp_path / "ivf", options=ivf)
    how = Execution(append=tmp_path / "flat")
    again = hnmine.index_dense(tmp_path / "c", tmp_path / "again", options=ivf, how=how)
    assert again.blocks_done_now == 0
    assert contents(tmp_path / "again") == contents(tmp_path / "ivf")
