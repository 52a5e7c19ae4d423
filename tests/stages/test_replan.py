"""A plan that does not fit the machine: what is said, what is planned instead, and what a resumed run makes of it."""

import dataclasses
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.engines.encoder import SentenceTransformerEncoder
from hnmine.engines.inference import fitting_memory
from hnmine.engines.text_model import TextModel
from hnmine.errors import PlanDoesNotFit, UsageError
from hnmine.execute.local import Execution
from hnmine.files.artefact import RECEIPTS
from hnmine.options import DenseOptions, Dtype, MineOptions, ScoreOptions, SparseOptions
from hnmine.stages.index_dense import IndexDense

torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")

WORDS = ["a", "man", "is", "eating", "food", "piece", "of", "bread", "the", "girl", "carries", "baby", "horse", "rides"]
DOCS = {f"d{i}": " ".join(WORDS[: 1 + i % len(WORDS)]) + f" {i}" for i in range(40)}


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    data = tmp_path_factory.mktemp("replan") / "data"
    (data / "qrels").mkdir(parents=True)
    (data / "corpus.jsonl").write_text("".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in DOCS.items()))
    (data / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "a man"}) + "\n")
    (data / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq\td0\t1\n")
    hnmine.ingest(data, data.parent / "collection")
    return data.parent / "collection"


def options(model, **more):
    return DenseOptions(**{"model": str(model), "dtype": "fp32", "device": "cpu", "batch_tokens": 400, **more})


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
    MemoryError(),
]


@pytest.fixture
def small_memory(monkeypatch):
    """Batches above `limit` tokens, padding counted, run out of memory."""
    own = TextModel._run
    state = {"limit": 120, "error": ERRORS[0], "sizes": []}

    def run(self, inputs, side):
        size = inputs["input_ids"].numel()
        if size > state["limit"]:
            raise state["error"]
        state["sizes"].append(size)
        return own(self, inputs, side)

    monkeypatch.setattr(TextModel, "_run", run)
    return state


def vectors(path):
    return {file.name: file.read_bytes() for file in sorted(path.glob("vectors/*"))}


@pytest.mark.parametrize("error", ERRORS, ids=["accelerator", "torch on a cpu", "python"])
def test_memory_that_runs_out_halves_the_batch_and_the_plan_says_so(
    collection, tmp_path, tiny_encoder, small_memory, error
):
    small_memory["error"] = error
    outcome = hnmine.index_dense(collection, tmp_path / "i", options=options(tiny_encoder))
    plan = outcome.artefact.plan
    # The first batch is 25 texts of 17 tokens: 400, then 200, then 100 fit.
    fitting = plan["options"]["batch_tokens"]
    assert 60 <= fitting <= 120
    assert plan["replanned"] == {"batch_tokens": fitting}
    assert plan["model"]["batch_tokens"] == fitting
    assert outcome.notes["planned otherwise"] == f"--batch-tokens {fitting}"
    assert max(small_memory["sizes"]) <= 120
    direct = hnmine.index_dense(collection, tmp_path / "j", options=options(tiny_encoder, batch_tokens=fitting))
    assert vectors(tmp_path / "i") == vectors(tmp_path / "j")
    assert "replanned" not in direct.artefact.plan


def test_the_same_command_again_finds_its_work(collection, tmp_path, tiny_encoder, small_memory):
    hnmine.index_dense(collection, tmp_path / "i", options=options(tiny_encoder))
    small_memory["limit"] = 10_000
    again = hnmine.index_dense(collection, tmp_path / "i", options=options(tiny_encoder))
    assert again.blocks_done_now == 0
    assert again.artefact.plan["replanned"]["batch_tokens"] == 93
    with pytest.raises(hnmine.ArtefactError, match="another plan"):
        hnmine.index_dense(collection, tmp_path / "i", options=options(tiny_encoder, max_length=8))


def test_appending_goes_on_with_the_plan_that_fitted(collection, tmp_path, tiny_encoder, small_memory, monkeypatch):
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "20")
    before = hnmine.index_dense(collection, tmp_path / "i", options=options(tiny_encoder))
    small_memory["limit"] = 10_000
    how = Execution(append=tmp_path / "i")
    after = hnmine.index_dense(collection, tmp_path / "j", options=options(tiny_encoder), how=how)
    assert (after.blocks_taken_over, after.blocks_done_now) == (3, 0)
    assert after.artefact.fingerprint == before.artefact.fingerprint


def test_what_no_longer_fits_is_not_appended_to(collection, tmp_path, tiny_encoder, small_memory, monkeypatch):
    """Blocks of two plans do not mix, so the choice is the user's: more memory, or everything anew."""
    small_memory["limit"] = 10_000
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "20")
    hnmine.index_dense(collection, tmp_path / "i", options=options(tiny_encoder))
    small_memory["limit"] = 120
    monkeypatch.setattr(IndexDense, "made_from", lambda *_: "changed")
    with pytest.raises(hnmine.ArtefactError, match=r"(?s)with other parameters.*batch_tokens: 400 -> .*leave --append"):
        hnmine.index_dense(
            collection, tmp_path / "j", options=options(tiny_encoder), how=Execution(append=tmp_path / "i")
        )


def test_a_run_that_was_stopped_after_it_replanned_goes_on(
    collection, tmp_path, tiny_encoder, small_memory, monkeypatch
):
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "10")
    own = SentenceTransformerEncoder.encode
    calls = []

    def encode(self, texts, side):
        calls.append(len(texts))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return own(self, texts, side)

    monkeypatch.setattr(SentenceTransformerEncoder, "encode", encode)
    with pytest.raises(KeyboardInterrupt):
        hnmine.index_dense(collection, tmp_path / "i", options=options(tiny_encoder))
    done = len(list((tmp_path / "i" / RECEIPTS).glob("*.json")))
    assert done >= 1
    outcome = hnmine.index_dense(collection, tmp_path / "i", options=options(tiny_encoder))
    assert outcome.blocks_total == 5
    assert outcome.blocks_done_now == 5 - done


def test_blocks_of_the_first_plan_are_made_again(collection, tmp_path, tiny_encoder, small_memory, monkeypatch):
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "20")
    small_memory["limit"] = 310
    own = TextModel._run

    def later(self, inputs, side):
        found = own(self, inputs, side)
        small_memory["limit"] = 100  # from the second batch on
        return found

    monkeypatch.setattr(TextModel, "_run", later)
    hnmine.index_dense(collection, tmp_path / "i", options=options(tiny_encoder, batch_tokens=300))
    plan = json.loads((tmp_path / "i/plan.json").read_text())
    hnmine.index_dense(
        collection, tmp_path / "j", options=options(tiny_encoder, batch_tokens=plan["replanned"]["batch_tokens"])
    )
    assert vectors(tmp_path / "i") == vectors(tmp_path / "j")


@pytest.mark.parametrize("how", [Execution(strict_plan=True), Execution(shard=(0, 2))])
def test_a_strict_plan_and_one_that_shards_share_are_not_changed(collection, tmp_path, tiny_encoder, small_memory, how):
    with pytest.raises(PlanDoesNotFit, match=r"out of memory on a batch of 23 texts of 17 tokens") as error:
        hnmine.index_dense(collection, tmp_path / "i", options=options(tiny_encoder), how=how)
    assert error.value.exit_code == 2
    assert "try: --batch-tokens 195" in error.value.render()
    assert json.loads((tmp_path / "i/plan.json").read_text())["options"]["batch_tokens"] == 400


def test_other_indexes_replan_too(collection, tmp_path, tiny_sparse_encoder, small_memory):
    asked = SparseOptions(model=str(tiny_sparse_encoder), dtype="fp32", device="cpu", batch_tokens=400)
    outcome = hnmine.index_sparse(collection, tmp_path / "s", options=asked)
    assert outcome.artefact.plan["replanned"]["batch_tokens"] <= 120


def test_a_single_text_that_does_not_fit_is_an_error(collection, tmp_path, tiny_encoder, small_memory):
    small_memory["limit"] = 10
    with pytest.raises(UsageError, match="out of memory on a single text of 17 tokens"):
        hnmine.index_dense(collection, tmp_path / "i", options=options(tiny_encoder))


def test_other_errors_of_torch_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes"), fitting_memory(4, 8):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


@pytest.fixture
def reduced(monkeypatch):
    """A machine whose `auto` is bf16, and where this has the cosine to fp32 that is put in."""
    monkeypatch.setattr(
        "hnmine.engines.inference.resolve_dtype", lambda dtype, device: Dtype.BF16 if dtype is Dtype.AUTO else dtype
    )
    state = {"cosine": 0.98, "asked": []}

    def agreement(self, texts):
        state["asked"].append(texts)
        return state["cosine"]

    monkeypatch.setattr(SentenceTransformerEncoder, "agreement", agreement)
    return state


def test_poor_arithmetic_that_nobody_asked_for_is_not_used(collection, tmp_path, tiny_encoder, reduced):
    outcome = hnmine.index_dense(collection, tmp_path / "i", options=options(tiny_encoder, dtype="auto"))
    assert outcome.artefact.plan["replanned"] == {"dtype": "fp32"}
    assert outcome.artefact.plan["model"]["machine"]["dtype"] == "fp32"
    assert outcome.notes["planned otherwise"] == "--dtype fp32"
    assert reduced["asked"] == [sorted(reduced["asked"][0], key=len)]  # once, from short to long
    assert len(reduced["asked"][0]) == 4
    hnmine.index_dense(collection, tmp_path / "j", options=options(tiny_encoder))
    assert vectors(tmp_path / "i") == vectors(tmp_path / "j")
    again = hnmine.index_dense(collection, tmp_path / "i", options=options(tiny_encoder, dtype="auto"))
    assert again.blocks_done_now == 0


def test_poor_arithmetic_is_refused_where_the_plan_is_strict(collection, tmp_path, tiny_encoder, reduced):
    with pytest.raises(PlanDoesNotFit, match=r"bf16: least cosine to fp32 0.98000 on 4 documents\n  try: --dtype fp32"):
        hnmine.index_dense(
            collection,
            tmp_path / "i",
            options=options(tiny_encoder, dtype="auto"),
            how=Execution(strict_plan=True),
        )


@pytest.mark.parametrize(
    ("dtype", "cosine", "note"),
    [
        ("auto", 0.9995, "least cosine to fp32 0.99950 on 4 documents"),
        (
            "auto",
            0.995,
            "least cosine to fp32 0.99500 on 4 documents; these vectors are poor",
        ),
        (
            "bf16",
            0.98,
            "least cosine to fp32 0.98000 on 4 documents; these vectors are poor",
        ),
        ("bf16", None, "not compared with fp32"),
    ],
)
def test_the_summary_says_how_well_reduced_arithmetic_agrees(
    collection, tmp_path, tiny_encoder, reduced, dtype, cosine, note
):
    reduced["cosine"] = cosine
    outcome = hnmine.index_dense(collection, tmp_path / "i", options=options(tiny_encoder, dtype=dtype))
    assert outcome.notes["bf16"].startswith(note)
    assert ("poor" in outcome.notes["bf16"]) == ("poor" in note)
    assert outcome.artefact.plan["model"]["machine"]["dtype"] == "bf16"
    assert json.loads((tmp_path / "i/run.json").read_text())["notes"]["bf16"] == outcome.notes["bf16"]


def test_the_cosine_is_that_of_the_two_arithmetics(tiny_encoder):
    from hnmine.engines.models import resolve_model

    texts = ["a man is eating food", "the girl", "horse"]
    model = resolve_model(str(tiny_encoder), revision=None)
    coarse, exact = (
        SentenceTransformerEncoder(model, options(tiny_encoder, dtype=dtype)) for dtype in ("bf16", "fp32")
    )
    found, expected = (each.encode(texts, hnmine.schema.Side.DOCUMENT).vectors for each in (coarse, exact))
    assert coarse.agreement(texts) == pytest.approx(np.sum(found * expected, axis=1).min())
    assert 0.999 < coarse.agreement(texts) < 1
    assert exact.agreement(texts) == coarse.agreement([]) == 1


def test_a_reranker_out_of_memory_scores_in_smaller_batches(collection, tmp_path, tiny_cross_encoder, monkeypatch):
    from sentence_transformers import CrossEncoder

    own, sizes = CrossEncoder.predict, []

    def predict(self, pairs, **how):
        if len(pairs) > 8:
            raise MemoryError
        sizes.append(len(pairs))
        return own(self, pairs, **how)

    monkeypatch.setattr(CrossEncoder, "predict", predict)
    hnmine.mine(collection, tmp_path / "c", options=MineOptions(random=30))
    asked = ScoreOptions(reranker=str(tiny_cross_encoder), dtype="fp32", device="cpu", batch_tokens=400, name="r")
    with pytest.raises(PlanDoesNotFit, match="out of memory on a batch"):
        hnmine.score(collection, tmp_path / "c", tmp_path / "s", options=asked, how=Execution(strict_plan=True))
    outcome = hnmine.score(collection, tmp_path / "c", tmp_path / "s", options=asked)
    fitting = outcome.artefact.plan["replanned"]["batch_tokens"]
    assert outcome.artefact.plan["options"]["batch_tokens"] == fitting < 400
    assert outcome.notes["planned otherwise"] == f"--batch-tokens {fitting}"
    assert sum(sizes) >= 31
    assert max(sizes) <= 8
    direct = hnmine.score(
        collection, tmp_path / "c", tmp_path / "d", options=dataclasses.replace(asked, batch_tokens=fitting)
    )
    found, expected = (pq.read_table(out.artefact.files()[0])["score_r"] for out in (outcome, direct))
    assert found.to_pylist() == expected.to_pylist()
