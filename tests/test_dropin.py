"""`hnmine.mine_hard_negatives` beside sentence-transformers' function of that name, on the same data."""

from __future__ import annotations

import inspect
import random
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hnmine
from hnmine.errors import InputError, UsageError
from hnmine.hashing import text_key, text_keys

datasets = pytest.importorskip("datasets")
sentence_transformers = pytest.importorskip("sentence_transformers")

from sentence_transformers.util import mine_hard_negatives as peer  # noqa: E402

WORDS = ["man", "eating", "food", "piece", "bread", "girl", "carries", "baby", "horse", "rides", "one", "two", "three"]
FORMATS = ("triplet", "n-tuple", "labeled-pair", "labeled-list")


def sentences(count: int, seed: int) -> list[str]:
    """Distinct texts, each of other words, so that none is a copy of another but for case or spacing."""
    draw = random.Random(seed)
    found: dict[tuple[str, ...], None] = {}
    while len(found) < count:
        found[tuple(sorted(draw.sample(WORDS, draw.randint(2, 6))))] = None
    return [" ".join(words) for words in found]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny models on busy cores are ten times faster in one thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tiny_encoder: Path) -> Any:
    return sentence_transformers.SentenceTransformer(str(tiny_encoder), device="cpu")


@pytest.fixture(scope="module")
def prompted(tiny_prompted_encoder: Path) -> Any:
    return sentence_transformers.SentenceTransformer(str(tiny_prompted_encoder), device="cpu")


@pytest.fixture(scope="module")
def reranker(tiny_cross_encoder: Path) -> Any:
    return sentence_transformers.CrossEncoder(str(tiny_cross_encoder), device="cpu")


@pytest.fixture(scope="module")
def pairs() -> Any:
    """24 anchors with one to three positives each; some positives belong to several anchors."""
    texts = sentences(60, seed=1)
    anchors, positives, draw = texts[:24], texts[24:], random.Random(2)
    rows = [(a, p) for i, a in enumerate(anchors) for p in draw.sample(positives, 1 + i % 3)]
    return datasets.Dataset.from_dict({"query": [a for a, _ in rows], "answer": [p for _, p in rows]})


@pytest.fixture(scope="module")
def corpus() -> list[str]:
    return sentences(90, seed=3)


def assert_same(ours: Any, theirs: Any, tolerance: float = 1e-5) -> None:
    """Equal columns, types, rows and texts; scores within the tolerance."""
    assert ours.column_names == theirs.column_names
    assert ours.features == theirs.features
    assert len(ours) == len(theirs) > 0
    for name in ours.column_names:
        for mine, other in zip(ours[name], theirs[name], strict=True):
            if name in ("score", "scores"):
                assert mine == pytest.approx(other, abs=tolerance)
            else:
                assert mine == other


def both(dataset: Any, model: Any, **arguments: Any) -> tuple[Any, Any]:
    ours = hnmine.mine_hard_negatives(dataset, model, verbose=False, **arguments)
    return ours, peer(dataset, model, verbose=False, **arguments)


def negatives_of(triplets: Any, anchor: str = "query") -> dict[str, list[str]]:
    found = defaultdict(list)
    for row in triplets:
        found[row[anchor]].append(row["negative"])
    return found


def test_the_parameters_are_the_peers() -> None:
    ours, theirs = inspect.signature(hnmine.mine_hard_negatives), inspect.signature(peer)
    names = list(ours.parameters)
    assert names[:-1] == list(theirs.parameters)
    assert names[-1] == "seed"
    assert ours.parameters["seed"].kind is inspect.Parameter.KEYWORD_ONLY
    for name, parameter in theirs.parameters.items():
        assert ours.parameters[name].default == parameter.default, name
        assert ours.parameters[name].kind == parameter.kind, name


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_negatives": 1},
        {"range_min": 4, "num_negatives": 2},
        {"range_min": 1, "range_max": 4},
        {"absolute_margin": 0.05},
        {"max_score": 0.9, "min_score": 0.3},
        {"absolute_margin": 0.01, "relative_margin": 0.1, "max_score": 0.95},
    ],
    ids=lambda arguments: ",".join(arguments),
)
def test_same_rows_as_the_peer(model: Any, pairs: Any, arguments: dict[str, Any]) -> None:
    assert_same(*both(pairs, model, output_scores=True, **arguments))


@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("form", FORMATS)
def test_same_rows_in_each_format(model: Any, pairs: Any, form: str, scores: bool) -> None:
    """The margin leaves some queries without enough negatives, and some without any."""
    arguments = {"relative_margin": 0.03, "num_negatives": 5, "output_format": form, "output_scores": scores}
    assert_same(*both(pairs, model, **arguments))


def test_same_rows_with_a_corpus(model: Any, pairs: Any, corpus: list[str]) -> None:
    anchors = set(pairs["query"])
    separate = [text for text in corpus if text not in anchors]
    arguments = {"corpus": separate, "relative_margin": 0.02, "output_scores": True}
    ours, theirs = both(pairs, model, **arguments)
    assert_same(ours, theirs)
    alone = hnmine.mine_hard_negatives(pairs, model, verbose=False, **{**arguments, "corpus": None})
    assert alone.to_dict() != ours.to_dict()


@pytest.mark.parametrize("limits", [{"absolute_margin": 0.0}, {"min_score": 0.1, "max_score": 0.9}])
def test_same_rows_with_a_cross_encoder(model: Any, reranker: Any, pairs: Any, limits: Any) -> None:
    arguments = {"output_scores": True, "num_negatives": 2, **limits}
    ours, theirs = both(pairs, model, cross_encoder=reranker, **arguments)
    assert_same(ours, theirs)
    without = hnmine.mine_hard_negatives(pairs, model, verbose=False, **arguments)
    assert negatives_of(without) != negatives_of(ours)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"query_prompt_name": "passage", "corpus_prompt_name": "query"},
        {"query_prompt": "one two : ", "corpus_prompt": "baby "},
        {"query_prompt": "one two : ", "query_prompt_name": "passage"},
    ],
    ids=lambda arguments: ",".join(arguments) or "own",
)
def test_same_rows_with_prompts(prompted: Any, pairs: Any, arguments: dict[str, str]) -> None:
    ours, theirs = both(pairs, prompted, output_scores=True, **arguments)
    assert_same(ours, theirs)
    plain = hnmine.mine_hard_negatives(pairs, prompted, query_prompt="", corpus_prompt="", output_scores=True)
    assert plain["scores"] != ours["scores"]


@pytest.mark.parametrize("scores", [False, True])
def test_same_ranking_with_the_positives(model: Any, pairs: Any, scores: bool) -> None:
    ours, theirs = both(
        pairs, model, include_positives=True, output_format="n-tuple", num_negatives=8, output_scores=scores
    )
    assert_same(ours, theirs)
    ranked = [{row[f"negative_{i}"] for i in range(1, 9)} for row in ours]
    assert any(row["answer"] in found for row, found in zip(ours, ranked, strict=True))


def test_columns_are_taken_by_name_and_order(model: Any, pairs: Any) -> None:
    turned = pairs.select_columns(["answer", "query"])
    arguments = {"anchor_column_name": "query", "positive_column_name": "answer"}
    ours, theirs = both(turned, model, **arguments)
    assert_same(ours, theirs)
    assert ours.to_dict() == hnmine.mine_hard_negatives(pairs, model, verbose=False).to_dict()


def test_a_column_may_be_called_corpus(model: Any, pairs: Any) -> None:
    assert_same(*both(pairs.rename_column("answer", "corpus"), model))


def test_a_repeated_pair_is_one_pair(model: Any, pairs: Any) -> None:
    doubled = datasets.concatenate_datasets([pairs, pairs.select(range(7))])
    assert_same(*both(doubled, model, output_scores=True))


def test_model_by_path(tiny_encoder: Path, model: Any, pairs: Any) -> None:
    by_path = hnmine.mine_hard_negatives(pairs, str(tiny_encoder), verbose=False)
    assert by_path.to_dict() == hnmine.mine_hard_negatives(pairs, model, verbose=False).to_dict()


def test_deprecated_arguments(model: Any, pairs: Any) -> None:
    with pytest.warns(DeprecationWarning, match="as_triplets"):
        old = hnmine.mine_hard_negatives(pairs, model, as_triplets=False, verbose=False)
    assert old.to_dict() == hnmine.mine_hard_negatives(pairs, model, output_format="n-tuple", verbose=False).to_dict()
    with pytest.warns(DeprecationWarning, match="margin is deprecated"):
        old = hnmine.mine_hard_negatives(pairs, model, margin=0.1, verbose=False)
    assert old.to_dict() == hnmine.mine_hard_negatives(pairs, model, absolute_margin=0.1, verbose=False).to_dict()
    with pytest.warns(DeprecationWarning, match="n-tuple-scores"):
        old = hnmine.mine_hard_negatives(pairs, model, output_format="n-tuple-scores", verbose=False)  # type: ignore[arg-type]
    new = hnmine.mine_hard_negatives(pairs, model, output_format="n-tuple", output_scores=True, verbose=False)
    assert old.to_dict() == new.to_dict()


# What is different, and why.


def test_the_anchors_own_text_is_no_negative(model: Any, pairs: Any) -> None:
    corpus = [*pairs["query"], *sentences(20, seed=9)]
    ours, theirs = both(pairs, model, corpus=corpus)
    assert any(anchor in found for anchor, found in negatives_of(theirs).items())
    assert not any(anchor in found for anchor, found in negatives_of(ours).items())
    assert len(ours) == len(theirs)  # the places are filled by others
    narrow = hnmine.mine_hard_negatives(pairs, model, corpus=corpus, range_max=3, verbose=False)
    assert narrow.to_dict() == ours.to_dict()  # the own text takes no place in the window


def test_copies_of_a_positive_are_no_negatives(model: Any, pairs: Any) -> None:
    some = list(dict.fromkeys(pairs["answer"]))[:10]
    copies = [change(text) for text in some for change in (str.upper, "{} ".format)]
    ours, theirs = both(pairs, model, corpus=copies, num_negatives=12)
    own = defaultdict(set)
    for row in pairs:
        own[row["query"]].add(row["answer"])

    def copied(found: dict[str, list[str]]) -> int:
        return sum(n.lower().strip() in own[anchor] for anchor, texts in found.items() for n in texts)

    assert copied(negatives_of(theirs)) > 0
    assert copied(negatives_of(ours)) == 0
    for texts in negatives_of(ours).values():
        assert len({text.lower().strip() for text in texts}) == len(set(texts))
    assert len(ours) == len(theirs)


def test_ranks_are_skipped_before_the_filters(model: Any, pairs: Any) -> None:
    everything = hnmine.mine_hard_negatives(pairs, model, num_negatives=20, output_scores=True, verbose=False)
    low, margin = 3, 0.05
    expected, lowest = defaultdict(list), {}
    for row in everything:
        lowest[row["query"]] = min(lowest.get(row["query"], 9.0), row["scores"][0])
    seen: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for row in everything:
        if row["negative"] not in [text for text, _ in seen[row["query"]]]:
            seen[row["query"]].append((row["negative"], row["scores"][1]))
    for query, ranked in seen.items():
        kept = [text for text, score in ranked[low:20] if score < lowest[query] - margin]
        expected[query] = kept[:2]
    ours, theirs = both(pairs, model, range_min=low, range_max=20, absolute_margin=margin, num_negatives=2)
    found = {query: list(dict.fromkeys(texts)) for query, texts in negatives_of(ours).items()}
    assert found == {query: texts for query, texts in expected.items() if texts}
    assert negatives_of(theirs) != negatives_of(ours)


def test_a_cross_encoder_is_always_run(model: Any, reranker: Any, pairs: Any) -> None:
    ours, theirs = both(pairs, model, cross_encoder=reranker, output_scores=True)
    row = ours[0]
    real = reranker.predict([(row["query"], row["answer"]), (row["query"], row["negative"])])
    assert row["scores"] == pytest.approx(real.tolist(), abs=1e-5)
    assert theirs[0]["scores"] != pytest.approx(ours[0]["scores"], abs=1e-3)


def test_random_is_drawn_by_seed_for_each_query(model: Any, pairs: Any) -> None:
    arguments = {"sampling_strategy": "random", "range_max": 20, "output_scores": True, "verbose": False}
    first = hnmine.mine_hard_negatives(pairs, model, **arguments)
    assert hnmine.mine_hard_negatives(pairs, model, **arguments).to_dict() == first.to_dict()
    other = hnmine.mine_hard_negatives(pairs, model, **arguments, seed=1)
    assert negatives_of(other) != negatives_of(first)
    turned = hnmine.mine_hard_negatives(pairs.select(range(len(pairs))[::-1]), model, **arguments)
    assert {q: set(n) for q, n in negatives_of(turned).items()} == {q: set(n) for q, n in negatives_of(first).items()}
    top = hnmine.mine_hard_negatives(pairs, model, range_max=20, num_negatives=20, verbose=False)
    assert all(set(texts) <= set(negatives_of(top)[query]) for query, texts in negatives_of(first).items())
    by_query = defaultdict(list)
    for row in first:
        by_query[row["query"], row["answer"]].append(row["scores"][1])
    assert all(scores == sorted(scores, reverse=True) for scores in by_query.values())


def test_the_cache_knows_models_apart(make_encoder: Any, pairs: Any, tmp_path: Path) -> None:
    load = sentence_transformers.SentenceTransformer
    one, two = (
        load(str(make_encoder("one", seed=1)), device="cpu"),
        load(str(make_encoder("two", seed=2)), device="cpu"),
    )
    cache, arguments = str(tmp_path / "cache"), {"output_scores": True, "verbose": False}
    plain = {name: hnmine.mine_hard_negatives(pairs, m, **arguments).to_dict() for name, m in (("1", one), ("2", two))}
    assert plain["1"] != plain["2"]
    for _ in range(2):
        assert hnmine.mine_hard_negatives(pairs, one, cache_folder=cache, **arguments).to_dict() == plain["1"]
        assert hnmine.mine_hard_negatives(pairs, two, cache_folder=cache, **arguments).to_dict() == plain["2"]
    import torch

    with torch.no_grad():
        next(one.parameters()).mul_(0.5)  # one training step later
    trained = hnmine.mine_hard_negatives(pairs, one, cache_folder=cache, **arguments).to_dict()
    assert trained == hnmine.mine_hard_negatives(pairs, one, **arguments).to_dict() != plain["1"]


def test_the_cache_is_used(model: Any, pairs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = str(tmp_path / "cache")
    first = hnmine.mine_hard_negatives(pairs, model, cache_folder=cache, verbose=False)
    files = sorted(p.name for p in Path(cache).iterdir())

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(type(model), "encode_document", refuse)
    monkeypatch.setattr(type(model), "encode_query", refuse)
    again = hnmine.mine_hard_negatives(pairs, model, cache_folder=cache, verbose=False)
    assert again.to_dict() == first.to_dict()
    hnmine.mine_hard_negatives(pairs, model, cache_folder=cache, max_score=0.9, verbose=False)
    assert set(files) < {p.name for p in Path(cache).iterdir()}  # other candidates, the same vectors
    with pytest.raises(AssertionError, match="encoded again"):
        hnmine.mine_hard_negatives(pairs, model, cache_folder=cache, query_prompt="baby ", verbose=False)


def test_a_wrong_column_name_is_never_replaced(model: Any, pairs: Any) -> None:
    with pytest.raises(ValueError, match=r"anchor_column_name='qeury'.*did you mean 'query'") as caught:
        hnmine.mine_hard_negatives(pairs, model, anchor_column_name="qeury")
    assert isinstance(caught.value, UsageError)
    with pytest.raises(ValueError, match="positive_column_name='positive'"):
        hnmine.mine_hard_negatives(pairs, model, positive_column_name="positive")
    with pytest.raises(ValueError, match="are one column"):
        hnmine.mine_hard_negatives(pairs, model, anchor_column_name="answer")
    with pytest.raises(ValueError, match="'negative' would be there twice"):
        hnmine.mine_hard_negatives(pairs.rename_column("answer", "negative"), model, verbose=False)


def test_other_columns_are_left_out_with_a_warning(model: Any, pairs: Any) -> None:
    more = pairs.add_column("lang", ["en"] * len(pairs))
    with pytest.warns(UserWarning, match="lang are left out") as caught:
        ours = hnmine.mine_hard_negatives(more, model, verbose=False)
    assert caught[0].filename == __file__
    assert ours.to_dict() == hnmine.mine_hard_negatives(pairs, model, verbose=False).to_dict()


@pytest.mark.parametrize("argument", [{"use_faiss": True}, {"faiss_batch_size": 8}, {"use_multi_process": ["cpu"]}])
def test_what_has_no_effect_says_so(model: Any, pairs: Any, argument: dict[str, Any]) -> None:
    with pytest.warns(UserWarning, match=f"{next(iter(argument))} has no effect"):
        ours = hnmine.mine_hard_negatives(pairs, model, verbose=False, **argument)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hnmine.mine_hard_negatives(pairs, model, verbose=False).to_dict() == ours.to_dict()


def test_texts_that_are_none(model: Any) -> None:
    broken = datasets.Dataset.from_dict({"q": ["a man", "", "a girl"], "a": ["eating", "bread", None]})
    with pytest.raises(InputError, match=r"(?s)2 problems.*q\[1\].*a\[2\]: None"):
        hnmine.mine_hard_negatives(broken, model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_negatives": 0}, "num_negatives=0"),
        ({"range_min": -1}, "range_min=-1"),
        ({"range_min": 5, "range_max": 7}, "leave 2 candidates"),
        ({"output_format": "pairs"}, "output_format='pairs'"),
        ({"sampling_strategy": "best"}, "sampling_strategy='best'"),
    ],
)
def test_wrong_values(model: Any, pairs: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hnmine.mine_hard_negatives(pairs, model, **arguments)


def test_a_dataset_of_another_kind(model: Any, pairs: Any) -> None:
    with pytest.raises(ValueError, match="DatasetDict"):
        hnmine.mine_hard_negatives(datasets.DatasetDict({"train": pairs}), model)
    with pytest.raises(ValueError, match="empty"):
        hnmine.mine_hard_negatives(pairs.select([]), model)


def test_nothing_found_says_why(model: Any, pairs: Any) -> None:
    with pytest.raises(InputError, match="max-score"):
        hnmine.mine_hard_negatives(pairs, model, max_score=-2.0, verbose=False)


def test_the_summary_goes_to_standard_error(model: Any, pairs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    hnmine.mine_hard_negatives(pairs, model, relative_margin=0.3)
    out, err = capsys.readouterr()
    assert out == ""
    assert "rows of 24 queries" in err
    assert "relative-margin" in err
    hnmine.mine_hard_negatives(pairs, model, verbose=False)
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_same_rows_with_a_real_model() -> None:
    """Docstrings of the standard library and the functions they describe, under MiniLM."""
    from itertools import islice

    from hnmine.engines.models import resolve_model
    from hnmine.errors import MissingDependencyError, ProblemLog
    from hnmine.files.readers import open_source
    from hnmine.options import InputOptions

    try:
        path = resolve_model("all-MiniLM-L6-v2", revision=None).path
    except MissingDependencyError as error:
        pytest.skip(str(error))
    minilm = sentence_transformers.SentenceTransformer(path, device="cpu")
    source, problems = open_source("stdlib", InputOptions()), ProblemLog()
    texts = {d.doc_id: d.text[:400] for d in source.documents(problems)}
    asked = {q.query_id: q.text for q in islice(source.queries(problems), 60)}
    judged = [j for j in source.qrels(problems) if j.query_id in asked]
    real = datasets.Dataset.from_dict(
        {"docstring": [asked[j.query_id] for j in judged], "function": [texts[j.doc_id] for j in judged]}
    )
    copies = set(text_keys(real["function"]))
    others = list({text_key(t): t for t in islice(texts.values(), 150) if text_key(t) not in copies}.values())
    ours, theirs = both(real, minilm, corpus=others, output_scores=True, relative_margin=0.05, num_negatives=4)
    assert_same(ours, theirs)
    assert len(ours) > 100
