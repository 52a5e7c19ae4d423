"""What `fit_guard.py` and `evaluate_guard.py` share: judged collections as the guard sees them, and a logistic fit."""

from __future__ import annotations

from dataclasses import dataclass
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


def read(spec: str) -> Judged:
    """Read `CANDIDATES=QRELS`: mined with few known positives, judged in full (BEIR TSV, grade 1 or more)."""
    place, _, qrels = spec.partition("=")
    candidates: Artefact = open_artefact(Path(place), Kind.CANDIDATES)
    collection = Collection(collection_of(candidates, None).artefact)
    stage = Filter(collection, candidates, FilterOptions())
    table = CandidatesTable(candidates).read(np.arange(len(stage.chosen)))
    evidence = stage._evidence(table)
    lines = Path(qrels).read_text(encoding="utf-8").splitlines()[1:]
    judged = {(q, d) for q, d, grade in (line.split("\t") for line in lines if line) if int(grade) >= 1}
    pairs = zip(table[QUERY_ID].to_pylist(), table[DOC_ID].to_pylist(), strict=True)
    relevant = np.fromiter((pair in judged for pair in pairs), np.bool_, table.num_rows)
    return Judged(
        name=Path(place).name,
        evidence=evidence,
        terms=guard.terms_of(guard.Signals.of(evidence)),
        relevant=relevant | evidence.is_positive,
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


def learn(studies: list[Judged], base: guard.Weights = guard.SHIPPED) -> guard.Weights:
    """The weights from judged collections; each has its own level, and counts by its relevant rows alike."""
    kinds = [kind for kind in (guard.DENSE, guard.LEXICAL) if all(kind in s.terms.places for s in studies)]
    rows = [s.terms.is_open for s in studies]
    alone = []
    for study, among in zip(studies, rows, strict=True):
        x = np.column_stack([np.ones(among.sum())] + [study.terms.places[k][among] for k in kinds])
        alone.append(logistic(x, study.relevant[among].astype(float))[1:])
    slopes = dict(zip(kinds, np.mean(alone, axis=0).tolist(), strict=True))
    one = guard.Weights(
        place={**base.place, **dict.fromkeys(kinds, 1.0)},
        sim_place=1.0,
        sim_level=1.0,
        known_place=1.0,
        alone={**base.alone, **slopes},
        top_precision=base.top_precision,
    )
    columns, labels, counts = [], [], []
    for number, (study, among) in enumerate(zip(studies, rows, strict=True)):
        parts = unit_terms(study, one)
        own = np.zeros((int(among.sum()), len(studies)))
        own[:, number] = 1
        columns.append(np.column_stack([*(part[among] for part in parts), own]))
        labels.append(study.relevant[among].astype(float))
        counts.append(np.full(int(among.sum()), 1 / max(labels[-1].sum(), 1)))
    w = np.concatenate(counts)
    found = logistic(np.vstack(columns), np.concatenate(labels), w * len(w) / w.sum())
    learned = guard.Weights(
        place={**base.place, **dict(zip(kinds, found.tolist(), strict=False)), guard.RERANKER: float(found[0])},
        sim_place=float(found[len(kinds)]),
        sim_level=float(found[len(kinds) + 1]),
        known_place=float(found[len(kinds) + 2]),
        alone={**base.alone, **slopes, guard.RERANKER: slopes[kinds[0]]},
        top_precision=base.top_precision,
    )
    rates = [top_precision(study, learned) for study in studies]
    return guard.Weights(
        place=learned.place,
        sim_place=learned.sim_place,
        sim_level=learned.sim_level,
        known_place=learned.known_place,
        alone=learned.alone,
        top_precision=float(np.mean(rates)),
    )


def unit_terms(study: Judged, one: guard.Weights) -> list[np.ndarray]:
    """The columns to learn weights for: places by kind, similarity's place and level, the positive's place."""
    state = guard.fit([study.terms], one)
    parts = guard.contributions(study.terms, state, one)
    places = [parts[kind] for kind in (guard.DENSE, guard.LEXICAL) if kind in parts]

    def only(**values: float) -> dict[str, np.ndarray]:
        zero = {"sim_place": 0.0, "sim_level": 0.0, "known_place": 0.0, **values}
        weights = guard.Weights(place=one.place, alone=one.alone, top_precision=one.top_precision, **zero)
        return guard.contributions(study.terms, state, weights)

    return [
        *places,
        only(sim_place=1.0)[guard.SIMILARITY],
        only(sim_level=1.0)[guard.SIMILARITY],
        only(known_place=1.0)[guard.KNOWN_PLACE],
    ]


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


def singles(study: Judged) -> dict[str, np.ndarray]:
    """Every single signal, higher is more relevant."""
    evidence = study.evidence
    found = {f"score_{name}": values for name, values in evidence.scores.items()}
    found |= {f"rank_{name}": np.where(r > 0, -r.astype(float), np.nan) for name, r in evidence.ranks.items()}
    found |= {f"place_{kind}": values for kind, values in study.terms.places.items()}
    found |= {f"sim_positive_{name}": values for name, values in evidence.sim_positive.items()}
    found["place_sim_positive"] = study.terms.sim_place
    found["fused"] = fused_score(evidence, ~evidence.is_positive & ~evidence.is_random)
    return found
