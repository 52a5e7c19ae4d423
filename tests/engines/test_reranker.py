import json

import numpy as np
import pytest

from hnmine.engines.models import resolve_model
from hnmine.engines.reranker import CrossEncoderReranker
from hnmine.errors import PlanDoesNotFit, UsageError
from hnmine.options import Dtype, ScoreOptions
from hnmine.schema import Scale

PAIRS = [
    ("a man is eating", "a man is eating food"),
    ("the girl", "horse rides " * 40),
    ("a man is eating", "the girl carries a baby"),
    ("", ""),
    ("the girl", "a man is eating food"),
]


def reranker(folder, **options):
    options = {"dtype": Dtype.FP32, "device": "cpu", "batch_tokens": 64, **options}
    return CrossEncoderReranker(resolve_model(str(folder), revision=None), ScoreOptions(**options))


def reference(folder, pairs, labels=1):
    """Logits straight from transformers, one pair at a time."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        how = {"truncation": True, "max_length": 64, "return_tensors": "pt"}
        rows = [model(**tokenizer([query], [document], **how)).logits for query, document in pairs]
    return torch.cat(rows).numpy().reshape(len(pairs), labels)


def test_scores_are_raw_logits_in_input_order(tiny_cross_encoder):
    model = reranker(tiny_cross_encoder)
    found = model.score(PAIRS)
    expected = reference(tiny_cross_encoder, PAIRS)[:, 0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert model.scale is Scale.LOGIT
    assert np.ptp(found) > 0.1  # else an order mistake could hide
    assert np.abs(found).max() > 1  # else a sigmoid could


def test_the_activation_a_model_asks_for_is_not_applied(make_cross_encoder):
    folder = make_cross_encoder("sigmoid")
    config = json.loads((folder / "config.json").read_text())
    config["sentence_transformers"] = {"activation_fn": "torch.nn.modules.activation.Sigmoid", "version": "5.0.0"}
    (folder / "config.json").write_text(json.dumps(config))
    np.testing.assert_allclose(reranker(folder).score(PAIRS), reference(folder, PAIRS)[:, 0], atol=1e-5)


def test_two_labels_give_the_log_odds_of_the_second(make_cross_encoder):
    folder = make_cross_encoder("two", labels=2)
    logits = reference(folder, PAIRS, labels=2)
    model = reranker(folder)
    np.testing.assert_allclose(model.score(PAIRS), logits[:, 1] - logits[:, 0], atol=1e-5)
    assert (model.scale, model.describe()["labels"]) == (Scale.LOGIT, 2)


def test_three_labels_are_not_a_score(make_cross_encoder):
    with pytest.raises(UsageError, match="3 labels"):
        reranker(make_cross_encoder("three", labels=3)).score(PAIRS)


def test_a_model_that_ends_in_a_sigmoid_gives_probabilities(tiny_cross_encoder, make_encoder, tmp_path):
    import torch
    from sentence_transformers import CrossEncoder

    modules = pytest.importorskip("sentence_transformers.base.modules")
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    backbone = Transformer(str(make_encoder("backbone")))
    head = modules.Dense(
        32,
        1,
        activation_function=torch.nn.Sigmoid(),
        module_input_name="sentence_embedding",
        module_output_name="scores",
    )
    CrossEncoder(modules=[backbone, Pooling(32, "cls"), head], device="cpu").save_pretrained(str(tmp_path / "headed"))
    model = reranker(tmp_path / "headed")
    scores = model.score(PAIRS)
    assert model.scale is Scale.PROBABILITY
    assert ((scores > 0) & (scores < 1)).all()
    assert model.describe()["scale"] == "probability"


def test_an_embedding_model_is_not_a_reranker(tiny_encoder, make_encoder):
    for folder in (tiny_encoder, make_encoder("x").parent / "x-backbone"):
        with pytest.raises(UsageError, match="not a cross-encoder"):
            reranker(folder).score(PAIRS)


def test_language_models_are_asked_yes_or_no(tmp_path):
    import torch
    import transformers

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "yes", "no", "a", "man", "girl", "bread"]
    tokenizer = transformers.BertTokenizerFast(vocab={word: row for row, word in enumerate(words)}, model_max_length=64)
    tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.5,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    model = reranker(tmp_path)
    pairs = [("a man", "bread"), ("girl", "a girl a man bread bread"), ("girl", "a")]
    lone = [model._model.predict([pair], activation_fn=torch.nn.Identity())[0] for pair in pairs]
    np.testing.assert_allclose(model.score(pairs), lone, atol=1e-4)
    assert (model.scale, model.describe()["labels"]) == (Scale.LOGIT, 1)


def test_the_same_pairs_give_the_same_bits_and_equal_pairs_equal_scores(tiny_cross_encoder):
    pairs = [*PAIRS, *PAIRS[::-1]]
    model = reranker(tiny_cross_encoder)
    first = model.score(pairs)
    model.score(PAIRS[:1])
    assert reranker(tiny_cross_encoder).score(pairs).tobytes() == first.tobytes()
    assert first[:5].tolist() == first[5:][::-1].tolist()


def test_lengths_are_exact_so_batches_keep_their_budget(tiny_cross_encoder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_cross_encoder)
    expected = [min(64, len(tokenizer([query], [document])["input_ids"][0])) for query, document in PAIRS]
    assert reranker(tiny_cross_encoder)._lengths(PAIRS).tolist() == expected


def test_max_length_cuts_the_pair(tiny_cross_encoder):
    short = reranker(tiny_cross_encoder, max_length=6)
    scores = short.score([("one", "two three"), ("one", "two girl")])
    assert short.max_length == 6
    assert scores[0] != scores[1]
    scores = short.score([("one", "two three girl"), ("one", "two three man horse")])
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)


def test_nan_is_kept(tiny_cross_encoder, tmp_path):
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(tiny_cross_encoder, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    vocabulary = json.loads((broken / "tokenizer.json").read_text())["model"]["vocab"]
    weights["bert.embeddings.word_embeddings.weight"][vocabulary["baby"]] = torch.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    assert np.isnan(reranker(broken).score(PAIRS)).tolist() == [False, False, True, False, False]


def test_no_pairs_no_scores(tiny_cross_encoder):
    assert reranker(tiny_cross_encoder).score([]).shape == (0,)


def test_the_plan_knows_the_weights_and_the_settings(tiny_cross_encoder, make_cross_encoder):
    plain = reranker(tiny_cross_encoder).describe()
    assert json.loads(json.dumps(plain)) == plain
    assert (plain["scale"], plain["max_length"], plain["labels"]) == ("logit", 64, 1)
    assert reranker(make_cross_encoder("tiny", seed=0)).describe() == plain
    assert reranker(make_cross_encoder("other/tiny", seed=1)).describe() != plain
    assert reranker(tiny_cross_encoder, max_length=32).describe() != plain
    assert reranker(tiny_cross_encoder, dtype=Dtype.BF16).describe() != plain


def test_bf16_on_a_cpu_stays_close(tiny_cross_encoder):
    exact = reranker(tiny_cross_encoder).score(PAIRS)
    reduced = reranker(tiny_cross_encoder, dtype=Dtype.BF16).score(PAIRS)
    assert not np.array_equal(exact, reduced)
    np.testing.assert_allclose(reduced, exact, atol=0.3)
    # The logits themselves are not bf16, whose last 16 bits are zero.
    assert (reduced.view(np.uint32) & 0xFFFF).all()


def test_running_out_of_memory_says_which_batch_fits(tiny_cross_encoder, monkeypatch):
    model = reranker(tiny_cross_encoder)
    model.score([("a", "man")])

    def predict(pairs, **how):
        raise MemoryError

    monkeypatch.setattr(model._model, "predict", predict)
    with pytest.raises(PlanDoesNotFit, match=r"a batch of 2 texts of 5 tokens\n  try: --batch-tokens 5"):
        model.score([("a", "man"), ("a", "horse")])
    with pytest.raises(UsageError, match="a single text of 5 tokens"):
        model.score([("a", "man")])
