"""`RefreshNegatives`: the real trainer, whose negatives follow the model that is trained."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import sentence_transformers as st
from sentence_transformers.sentence_transformer import losses

import hnmine
from hnmine.errors import InputError, UsageError
from hnmine.refresh import RefreshNegatives
from hnmine.stages.inspect import query

EVERY, STEPS = 4, 10


@pytest.fixture(scope="module")
def run(mined: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of the first round, with one negative a query out of few."""
    place: Path = tmp_path_factory.mktemp("refresh") / "run"
    shutil.copytree(mined.path, place)
    shutil.rmtree(place / "decisions")
    hnmine.filter(place, place / "decisions", options=hnmine.FilterOptions(num_negatives=1, no_margin=True))
    return place


def trainer(run: Path, encoder: Path, output: Path, *, steps: int = STEPS, **more: Any) -> tuple[Any, RefreshNegatives]:
    refresh = RefreshNegatives(run, every=EVERY)
    model = st.SentenceTransformer(str(encoder), device="cpu")
    arguments = st.SentenceTransformerTrainingArguments(
        output_dir=str(output),
        max_steps=steps,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        seed=3,
        **{"save_strategy": "no", **more},
    )
    loss = losses.MultipleNegativesRankingLoss(model)
    made = st.SentenceTransformerTrainer(
        model=model, args=arguments, train_dataset=refresh.dataset, loss=loss, callbacks=[refresh]
    )
    return made, refresh


def rows(refresh: RefreshNegatives) -> list[dict[str, str]]:
    return [refresh.dataset[number] for number in range(len(refresh.dataset))]


def hardness(model: Any, found: list[dict[str, str]]) -> float:
    """How much nearer the positives are than the negatives, on average; less is harder."""
    anchors, positives, negatives = (
        model.encode([row[name] for row in found], normalize_embeddings=True)
        for name in ("anchor", "positive", "negative_1")
    )
    return float((anchors * (positives - negatives)).sum(axis=1).mean())


def test_negatives_follow_the_model(run: Path, tiny_encoder: Path, tmp_path: Path, mined: Any) -> None:
    running, refresh = trainer(run, tiny_encoder, tmp_path / "out")
    first = rows(refresh)
    assert len(first) == 48 + 10, "a row for every pair of the first round"
    seen: dict[int, tuple[float, float]] = {}
    showing = refresh.refresh

    def measured(model: Any, folder: Path) -> Any:
        before = rows(refresh)
        found = showing(model, folder)
        assert model.training
        seen[len(seen)] = hardness(model, before), hardness(model, rows(refresh))
        return found

    refresh.refresh = measured  # type: ignore[method-assign]
    running.train()
    assert running.state.global_step == STEPS
    assert [one["step"] for one in refresh.rounds] == [4, 8]
    assert all(now < before for before, now in seen.values()), "harder for the model that is trained"
    last = rows(refresh)
    assert [(row["anchor"], row["positive"]) for row in last] == [(row["anchor"], row["positive"]) for row in first]
    assert any(old != new for old, new in zip(first, last, strict=True))
    known = {mined.queries[name]: {mined.documents[d] for d in found} for name, found in mined.positives.items()}
    assert all(row["negative_1"] not in known[row["anchor"]] for row in last)
    assert sorted(path.name for path in (tmp_path / "out" / "rounds").iterdir()) == ["step-4", "step-8"]
    told = [entry for entry in running.state.log_history if "refresh_jaccard" in entry]
    assert [entry["refresh_jaccard"] for entry in told] == [one["jaccard"] for one in refresh.rounds]
    candidates = query(tmp_path / "out" / "rounds" / "step-8", "q0")["candidates"]
    assert "negative" in {row["previous"] for row in candidates}, "what the round before chose is scored again"


def test_equal_runs_and_resumed_ones_have_equal_negatives(run: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    saving = {"save_strategy": "steps", "save_steps": 6}
    running, refresh = trainer(run, tiny_encoder, tmp_path / "one", **saving)
    running.train()
    weights = running.model.state_dict()
    shutil.copytree(tmp_path / "one" / "checkpoint-6", tmp_path / "two" / "checkpoint-6")
    shutil.copytree(tmp_path / "one" / "rounds" / "step-4", tmp_path / "two" / "rounds" / "step-4")
    resumed, again = trainer(run, tiny_encoder, tmp_path / "two", **saving)
    resumed.train(resume_from_checkpoint=str(tmp_path / "two" / "checkpoint-6"))
    assert [one["step"] for one in again.rounds] == [8], "the first refresh was before the checkpoint"
    assert rows(again) == rows(refresh)
    for part in ("part-00000.parquet", "manifest.json", "plan.json"):
        one, two = (tmp_path / name / "rounds" / "step-8" / part for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
    assert all(bool((weights[name] == value).all()) for name, value in resumed.model.state_dict().items())
    shutil.rmtree(tmp_path / "two" / "rounds")
    lost, _ = trainer(run, tiny_encoder, tmp_path / "two", **saving)
    with pytest.raises(InputError, match="the negatives that training went on with from this checkpoint are not there"):
        lost.train(resume_from_checkpoint=str(tmp_path / "two" / "checkpoint-6"))


def test_what_cannot_be_done_again_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="every=0"):
        RefreshNegatives(run, every=0)
    listed = tmp_path / "excluded.txt"
    listed.write_text("doc 80\n", encoding="utf-8")
    hnmine.mine(run, tmp_path / "mined", options=hnmine.MineOptions(exclude_documents=str(listed), top_k=5))
    hnmine.filter(tmp_path / "mined", tmp_path / "d", options=hnmine.FilterOptions(num_negatives=1, no_margin=True))
    with pytest.raises(UsageError, match="was mined with lists of exclusions"):
        RefreshNegatives(tmp_path / "d", every=1)
    labels = tmp_path / "labels.tsv"
    labels.write_text("query-id\tcorpus-id\tscore\nq0\tdoc 80\t0\n", encoding="utf-8")
    rules = hnmine.FilterOptions(num_negatives=1, no_margin=True, labels=str(labels))
    hnmine.filter(run, tmp_path / "labelled", options=rules)
    with pytest.raises(UsageError, match="was decided with --labels"):
        RefreshNegatives(tmp_path / "labelled", every=1)
    given = RefreshNegatives(tmp_path / "labelled", every=1, rules=rules)
    assert given.dataset.column_names == ["anchor", "positive", "negative_1"]
    for place in (run, tmp_path / "half"):
        hnmine.index_bm25(run, place / "indexes" / "bm25")
    hnmine.mine(run, tmp_path / "half" / "candidates", options=hnmine.MineOptions(top_k=5))
    hnmine.filter(tmp_path / "half" / "candidates", tmp_path / "half" / "decisions", options=hnmine.FilterOptions())
    shutil.rmtree(tmp_path / "half" / "indexes")
    with pytest.raises(UsageError, match="has no index bm25, with which"):
        RefreshNegatives(tmp_path / "half", every=1)
    shutil.rmtree(run / "indexes" / "bm25")
