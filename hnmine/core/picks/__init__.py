"""The picks. To add one: a class in a file of this package, a value of `options.Pick`, and a line in `build`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hnmine.core.picks.base import Picker
from hnmine.core.picks.debiased import Debiased
from hnmine.core.picks.diverse import Diverse
from hnmine.core.picks.existing import ExistingFirst
from hnmine.core.picks.margin_bins import MarginBins
from hnmine.core.picks.neighbours import ClusterNeighbours
from hnmine.core.picks.pool import Pool
from hnmine.core.picks.quota import Quota
from hnmine.core.picks.simans import SimansGaussian, SimansLaplace
from hnmine.core.picks.softmax import Softmax, TopThenSoftmax
from hnmine.core.picks.teachers import CrossTeacher, IntraTeacher
from hnmine.core.picks.top import Top
from hnmine.core.picks.uniform import Uniform
from hnmine.errors import UsageError
from hnmine.options import Existing, FilterOptions, Pick
from hnmine.schema import CURATED_SOURCE, NO_RETRIEVERS, RANDOM_SOURCE
from hnmine.spelling import nearest


def build(
    options: FilterOptions, *, rank_by: str | None, origins: Mapping[str, str], clusters: Sequence[str] = ()
) -> Picker:
    """The pick in force. `origins` says of every score what made it: `bm25`, `dense`, `sparse`, `late`, `run`,
    `reranker`, `imported`; `clusters` are the indexes whose clusters are known.

    Raises `UsageError` if the candidates lack a score that the pick reads.
    """
    asked = options.pick

    def order() -> str:
        if rank_by is not None and rank_by not in origins:
            raise UsageError(
                f"--pick {asked} reads a score, and --rank-by {rank_by} is an order of ranks without one",
                expected=f"--rank-by one of {', '.join(origins)}, or a pick that reads no score, such as top or random",
            )
        if rank_by is None:
            raise UsageError(f"--pick {asked}: the candidates have no score to rank by", expected="an index, or a run")
        return rank_by

    def first(origin: str) -> str:
        found = next((name for name, made_by in origins.items() if made_by == origin), None)
        if found is None:
            raise UsageError(
                f"--pick {asked}: the candidates have no {origin} score", remedy=f"mine with a {origin} index"
            )
        return found

    def clustered() -> str:
        if not clusters:
            raise UsageError(
                f"--pick {asked}: the candidates have no clusters", remedy="mine with a dense index and --clusters 256"
            )
        return next((name for name in clusters if name == rank_by), clusters[0])

    def teachers() -> list[str]:
        found = [name for name, made_by in origins.items() if made_by not in NO_RETRIEVERS]
        if len(found) < 2:
            raise UsageError(
                f"--pick {asked}: the candidates are of {len(found)} retriever{'' if len(found) == 1 else 's'}",
                expected="two or more, which share the work",
                remedy="mine with several --index or --run",
            )
        return found

    kernel = (options.anchor, options.simans_offset, options.simans_width)
    makers: dict[Pick, Callable[[], Picker]] = {
        Pick.TOP: Top,
        Pick.RANDOM: Uniform,
        Pick.SOFTMAX: lambda: Softmax(order(), options.temperature),
        Pick.TOP1_SOFTMAX: lambda: TopThenSoftmax(order(), options.temperature),
        Pick.SIMANS: lambda: SimansGaussian(order(), *kernel),
        Pick.SIMANS_LAPLACE: lambda: SimansLaplace(order(), *kernel),
        Pick.MARGIN_BINS: lambda: MarginBins(options.anchor),
        Pick.DEBIASED: lambda: Debiased(first("bm25"), first("dense")),
        Pick.DIVERSE: lambda: Diverse(clustered()),
        Pick.CLUSTER_NEIGHBOURS: lambda: ClusterNeighbours(clustered()),
        Pick.CROSS_TEACHER: lambda: CrossTeacher(teachers()),
        Pick.INTRA_TEACHER: lambda: IntraTeacher(teachers()),
    }
    picker = makers[asked]()
    if options.fn_weight and not picker.draws_rows:
        drawing = [kind.token for kind in _PICKERS if kind.draws_rows]
        raise UsageError(
            f"--fn-weight: --pick {asked} draws no rows, so there is nothing to weight",
            expected=f"--pick {', '.join(drawing)}",
            remedy="--pick random draws by this weight alone; --max-fn-probability drops rows whatever the pick",
        )
    if options.pick_pool is not None:
        picker = Pool(picker, options.pick_pool)
    if options.quota is not None:
        quotas = {name: count * options.epochs for name, count in parse_quota(options.quota).items()}
        picker = Quota(picker, _retrievers(quotas, origins))
    if options.existing is not Existing.JUDGE:
        picker = ExistingFirst(picker)
    return picker


_PICKERS: tuple[type[Picker], ...] = (
    *(Top, Uniform, Softmax, TopThenSoftmax, SimansGaussian, SimansLaplace),
    *(MarginBins, Debiased, Diverse, ClusterNeighbours, CrossTeacher, IntraTeacher),
)
"""What `--pick` can name, in its order."""


def parse_quota(text: str) -> dict[str, int]:
    """`bm25=2,random=1` as {"bm25": 2, "random": 1}; `UsageError` if it does not read so."""
    quotas: dict[str, int] = {}
    for part in text.split(","):
        name, equals, count = (piece.strip() for piece in part.rpartition("="))
        if not (name and equals and count.isdecimal() and int(count)) or name in quotas:
            raise UsageError(
                f"--quota {text}: {part.strip()!r} is no quota, or a second one for the same source",
                expected="SOURCE=N,... with N at least 1, such as bm25=2,dense=3,random=1",
            )
        quotas[name] = int(count)
    return quotas


_MARKED = (RANDOM_SOURCE, CURATED_SOURCE)
"""Sources of a quota that no retriever is."""


def _retrievers(quotas: Mapping[str, int], origins: Mapping[str, str]) -> dict[str, tuple[Sequence[str], int]]:
    """The retrievers that count for each source of a quota: the one of that name, or all of that kind."""
    known = {name: origin for name, origin in origins.items() if origin not in NO_RETRIEVERS}
    found: dict[str, tuple[Sequence[str], int]] = {}
    problems = []
    for name, count in quotas.items():
        of_kind = [own for own, origin in known.items() if origin == name and own not in quotas]
        found[name] = ([name] if name in known else of_kind, count)
        if name not in _MARKED and not found[name][0]:
            guess = nearest(name, [*known, *_MARKED])
            problems.append(
                f"--quota {name}={count}: nothing was mined from {name!r}"
                + (f"; did you mean {guess!r}?" if guess else "")
            )
    if problems:
        raise UsageError(
            "\n".join(problems),
            expected=f"sources {', '.join([*known, *_MARKED])}, or bm25, dense, sparse, late, run for a kind",
        )
    return found


__all__ = ["Picker", "build", "parse_quota"]
