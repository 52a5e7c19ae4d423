"""What `fit_guard.py` and `evaluate_guard.py` share: judged collections as the guard sees them, and a logistic fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hnmine.core import guard
from hnmine.core.evidence import Evidence
from hnmine.core.rules.fused import fused_score
from hnmine.files.artefact import Artefact
from hnmine.files.candidates import CandidatesTable
from hnmine.files.collection import Collection
from hnmine.options import FilterOptions
from hnmine.schema import DOC_ID, QUERY_ID, Kind
from hnmine.stages.filter import Filter
from hnmine.stages.places import collection_of, open_artefact


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A table of candidates whose rows are all judged elsewhere."""

    name: str
    evidence: Evidence
    terms: guard.Terms
    relevant: np.ndarray
    """bool, one entry a row, by the full judgments."""
    singles: dict[str, np.ndarray]
    """Every single signal, higher is more relevant."""


def read(spec: str) -> Judged:
    """Read `CANDIDATES=QRELS`: mined with few known positives, judged in full (BEIR TSV, grade 1 or more)."""
    place, _, qrels = spec.partition("=")
    candidates: Artefact = open_artefact(Path(place), Kind.CANDIDATES)
    collection = Collection(collection_of(candidates, None).artefact)
    stage = Filter(collection, candidates, FilterOptions())
    table = CandidatesTable(candidates).read(np.arange(len(stage.chosen)))
    evidence = stage.evidence(table, stage.chosen)
    lines = Path(qrels).read_text(encoding="utf-8").splitlines()[1:]
    judged = {(q, d) for q, d, grade in (line.split("\t") for line in lines if line) if int(grade) >= 1}
    pairs = zip(table[QUERY_ID].to_pylist(), table[DOC_ID].to_pylist(), strict=True)
    relevant = np.fromiter((pair in judged for pair in pairs), np.bool_, table.num_rows)
    terms = guard.terms_of(guard.Signals.of(evidence))
    return Judged(
        name=Path(place).name,
        evidence=evidence,
        terms=terms,
        relevant=relevant | evidence.is_positive,
        singles=_singles(evidence, terms),
    )


def only(study: Judged, kind: str) -> Judged:
    """The same collection as if nothing but its retrievers of one kind had been there."""
    evidence, signals = study.evidence, guard.Signals.of(study.evidence)
    names = [name for name in evidence.scores if signals.kind(name) == kind]
    keep = evidence.is_positive | np.any([evidence.ranks[name] > 0 for name in names], axis=0)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(evidence.owner[keep], minlength=len(evidence.offsets) - 1))])
    signals = guard.Signals(
        offsets=offsets,
        scores={name: evidence.scores[name][keep] for name in names},
        ranked=frozenset(names),
        sim_positive={name: values[keep] for name, values in evidence.sim_positive.items() if name in names},
        is_positive=evidence.is_positive[keep],
        is_certain=evidence.is_certain[keep],
        is_random=evidence.is_random[keep],
    )
    return Judged(
        name=f"{study.name} {kind} only",
        evidence=evidence,
        terms=guard.terms_of(signals),
        relevant=study.relevant[keep],
        singles={},
    )


def logistic(x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Maximum likelihood by Newton's method; `x` includes its constant columns."""
    w = np.ones(len(y)) if weight is None else weight
    b = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-(x @ b)))
        hessian = (x * (w * p * (1 - p))[:, None]).T @ x + 1e-9 * np.eye(len(b))
        step = np.linalg.solve(hessian, x.T @ (w * (y - p)))
        b += step
        if np.abs(step).max() < 1e-8:
            break
    return b


def learn(studies: list[Judged], rounds: int = 3) -> guard.Weights:
    """The weights from judged collections; each has its own level, and all their relevant rows together count alike.

    The estimate of each table's numbers uses the weights being learned, hence the rounds.
    """
    kinds = [kind for kind in guard.KINDS if all(kind in s.terms.places for s in studies)]
    alone = []
    for study in studies:
        among = study.terms.is_open
        x = np.column_stack([np.ones(among.sum())] + [study.terms.places[kind][among] for kind in kinds])
        alone.append(logistic(x, study.relevant[among].astype(float))[1:])
    weights = guard.Weights(
        place=_with_reranker(kinds, np.ones(len(kinds))),
        sim_place=0.0,
        sim_level=0.0,
        known_place=0.0,
        alone=_with_reranker(kinds, np.mean(alone, axis=0)),
        top_precision=0.65,
        unevenness=float(np.mean([unevenness(study) for study in studies])),
    )
    for _ in range(rounds):
        weights = _one_round(studies, kinds, weights)
    return weights


def _with_reranker(kinds: list[str], values: np.ndarray) -> dict[str, float]:
    return {guard.RERANKER: float(values[0]), **dict(zip(kinds, values.tolist(), strict=False))}


def _one_round(studies: list[Judged], kinds: list[str], weights: guard.Weights) -> guard.Weights:
    columns, labels, counts = [], [], []
    for number, study in enumerate(studies):
        among = study.terms.is_open
        own = np.zeros((int(among.sum()), len(studies)))
        own[:, number] = 1
        columns.append(np.column_stack([*(part[among] for part in unit_terms(study, kinds, weights)), own]))
        labels.append(study.relevant[among].astype(float))
        counts.append(np.full(int(among.sum()), 1 / max(labels[-1].sum(), 1)))
    w = np.concatenate(counts)
    found = logistic(np.vstack(columns), np.concatenate(labels), w * len(w) / w.sum())
    of_similarity = found[len(kinds) : -len(studies)].tolist() or [0.0, 0.0, 0.0]
    learned = replace(
        weights,
        place=_with_reranker(kinds, found),
        sim_place=of_similarity[0],
        sim_level=of_similarity[1],
        known_place=of_similarity[2],
    )
    return replace(learned, top_precision=float(np.mean([top_precision(study, learned) for study in studies])))


def unevenness(study: Judged) -> float:
    """The mean number of relevant rows a query over their harmonic mean."""
    counts = np.bincount(study.terms.owner, study.relevant)
    counts = counts[counts > 0]
    return float(counts.mean() * (1 / counts).mean())


def unit_terms(study: Judged, kinds: list[str], weights: guard.Weights) -> list[np.ndarray]:
    """The columns to learn weights for: places by kind, similarity's place and level, the positive's place."""
    state = guard.fit([study.terms], weights)
    none = replace(weights, sim_place=0.0, sim_level=0.0, known_place=0.0)
    units = {
        guard.SIMILARITY: [replace(none, sim_place=1.0), replace(none, sim_level=1.0)],
        guard.KNOWN_PLACE: [replace(none, known_place=1.0)],
    }
    ones = replace(none, place=dict.fromkeys(weights.place, 1.0))
    found = [guard.contributions(study.terms, state, ones)[kind] for kind in kinds]
    if study.terms.similarities:
        for signal, each in units.items():
            found += [guard.contributions(study.terms, state, unit)[signal] for unit in each]
    return found


def top_precision(study: Judged, weights: guard.Weights) -> float:
    """How often the head of a list is relevant: from the best open row, corrected for the share already known."""
    state = guard.fit([study.terms], weights)
    total = sum(guard.contributions(study.terms, state, weights).values(), np.zeros(len(study.relevant)))
    heads = guard._heads(study.terms, total, study.terms.is_open)
    seen, share = float(study.relevant[heads].mean()), float(state["labelled_share"])
    return seen / (1 - share + seen * share)


def auc(truth: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve; ties count half, rows without a score come last."""
    values = np.where(np.isnan(score), -np.inf, score)
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    positives = int(truth.sum())
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * (len(truth) - positives)))


def ece(truth: np.ndarray, p: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error over bins of equal mass."""
    order = np.argsort(p, kind="stable")
    parts = np.array_split(order, bins)
    return float(sum(len(i) / len(p) * abs(p[i].mean() - truth[i].mean()) for i in parts if len(i)))


def _singles(evidence: Evidence, terms: guard.Terms) -> dict[str, np.ndarray]:
    found = {f"score_{name}": values for name, values in evidence.scores.items()}
    found |= {f"rank_{name}": np.where(r > 0, -r.astype(float), np.nan) for name, r in evidence.ranks.items()}
    found |= {f"place_{kind}": values for kind, values in terms.places.items()}
    found |= {f"sim_positive_{name}": values for name, values in evidence.sim_positive.items()}
    found["place_sim_positive"] = terms.sim_place
    found["fused"] = fused_score(evidence, ~evidence.is_positive & ~evidence.is_random)
    return found
