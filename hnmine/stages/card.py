"""The dataset card of an export: what it is and was made from, what dropped how many candidates, how to repeat it.

It says nothing about where: no paths, no hosts. The header is what `load_dataset` and the Hub go by.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from hnmine.core import decide
from hnmine.engines.analysis import language_code
from hnmine.errors import UsageError
from hnmine.files.artefact import Artefact, Json
from hnmine.schema import BATCH_ID, EPOCH, P_FALSE_NEGATIVE, QUERY_ID, SOURCES, VERDICT, Kind, Verdict
from hnmine.stages.hub_layout import DEFAULT, IDS, Config, HubLayout
from hnmine.stages.lineage import Lineage, commands, model_of
from hnmine.stages.vocabulary import rules

BEGIN = "<!-- hnmine: `hnmine export --push` writes what stands from here to the next mark -->"
END = "<!-- hnmine: the end of what it writes; all other text is yours -->"
_SIZES = (
    "n<1K",
    "1K<n<10K",
    "10K<n<100K",
    "100K<n<1M",
    "1M<n<10M",
    "10M<n<100M",
    "100M<n<1B",
    "1B<n<10B",
    "10B<n<100B",
)
_SENTENCE_TRANSFORMERS = frozenset({"triplet", "n-tuple", "labeled-pair", "labeled-list", "ids"})

_MEANINGS = {
    "anchor": "the query",
    "query": "the query",
    "positive": "a document that is relevant to it",
    "negative": "a mined hard negative: a document that looks relevant and is not",
    "document": "a document, relevant or not",
    "documents": "documents, the positive first",
    "label": "1: relevant; 0: a mined hard negative",
    "labels": "parallel to the documents; 1: relevant, 0: a mined hard negative",
    "score": "the judge's score of the document",
    "scores": "the judge's scores, parallel to the documents",
    "weight": "1 - the estimated probability that the negative is a false one",
    "weights": "parallel to the documents; 1: a positive, else 1 - the estimated probability of a false negative",
    "difficulty": "the judge's mean score of the row's negatives less that of its positives",
    "pos": "documents that are relevant to it",
    "neg": "mined hard negatives",
    "pos_scores": "the judge's scores, parallel to `pos`",
    "neg_scores": "the judge's scores, parallel to `neg`",
    "query_id": "the id of the query",
    "document_id": "the id of a document",
    "document_ids": "the ids of the row's documents, the positive first",
    "text": "a text of a query or document",
}
_MEANINGS_OF_IDS = {
    QUERY_ID: "the id of the row's query",
    EPOCH: "the epoch that the row is for",
    BATCH_ID: "the batch that the row is in, from 0 in each split",
    "doc_ids": "the ids of the row's documents, in the order of its texts",
    "labels": "1: relevant; 0: a mined hard negative",
    "scores": "the judge's scores",
    "ranks": "the places in the list that negatives are picked from, from 1; null: not in it",
    SOURCES: "who found each document",
    "steps": "by which relaxed rule a negative came in; `none`: by no relaxed rule",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card's header and text."""

    header: Json
    text: str

    def render(self, old: str | None = None) -> str:
        """README.md, with what people wrote into `old`: their keys of the header, and all text outside the marks."""
        import yaml

        written, body = _split(old) if old is not None else ({}, "")
        header = _merged(written, self.header)
        own = f"{BEGIN}\n\n{self.text.strip()}\n\n{_licence(header.get('license'))}\n\n{END}"
        before, begin, rest = body.partition(BEGIN)
        if begin and END in rest:
            body = before + own + rest.partition(END)[2]
        else:
            body = f"{body.rstrip()}\n\n{own}\n".lstrip()
        shown = yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=10_000)
        return f"---\n{shown}---\n\n{body.strip()}\n"


def card(export: Artefact, layout: HubLayout, repository: str, *, licence: str | None = None) -> Card:
    """The card of a finished export in a repository."""
    lineage = Lineage.of(export)
    sections = [
        _what(lineage, layout, repository),
        _columns(layout, export.plan["options"]["columns"]),
        _sources(lineage),
        _retrievers(lineage),
        _choice(lineage),
        _again(lineage),
    ]
    return Card(header=_header(lineage, layout, licence), text="\n\n".join(filter(None, sections)))


def _header(lineage: Lineage, layout: HubLayout, licence: str | None) -> Json:
    form = lineage.export.plan["options"]["format"]
    trainer = ["sentence-transformers"] if form in _SENTENCE_TRANSFORMERS else []
    languages = sorted({code for index in lineage.indexes.values() if (code := _language(index))})
    rows = layout.configs[0].rows
    return {
        **({"license": licence} if licence else {}),
        **({"language": languages} if languages else {}),
        "task_categories": ["sentence-similarity", "text-retrieval"],
        "size_categories": [_SIZES[int(np.searchsorted(10 ** np.arange(3, 3 + len(_SIZES) - 1), rows, side="right"))]],
        "tags": ["hard-negatives", "hnmine", *trainer, form],
        "configs": [config.to_header() for config in layout.loadable],
    }


def _language(index: Artefact | None) -> str | None:
    if index is None or index.kind is not Kind.BM25_INDEX:
        return None
    return language_code(index.plan["analyser"]["language"])


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> Json:
    """The keys of a header that people wrote, with those that follow from the files; `tags` are both's."""
    merged = {**new, **old}
    for name in ("license", "size_categories"):
        if name in new:
            merged[name] = new[name]
    merged["tags"] = list(dict.fromkeys([*_listed(old.get("tags")), *new["tags"]]))
    ours = {config["config_name"] for config in new["configs"]} | {DEFAULT, IDS}
    others = [config for config in _listed(old.get("configs")) if config.get("config_name") not in ours]
    merged["configs"] = [*new["configs"], *others]
    merged.pop("dataset_info", None)  # rows and bytes of files that are no longer there
    return {name: value for name, value in merged.items() if value != []}


def _listed(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


_HEADER = re.compile(
    r"\ufeff?\s*---[ \t]*\r?\n(?P<header>.*?)(?:^|\r?\n)---[ \t]*(?:\r?\n|$)", re.DOTALL | re.MULTILINE
)


def _split(text: str) -> tuple[Json, str]:
    """(header, body) of a card; `UsageError` if its header cannot be read."""
    import yaml

    found = _HEADER.match(text)
    if found is None:
        return {}, text
    try:
        header = yaml.safe_load(found["header"]) or {}
    except yaml.YAMLError as error:
        raise UsageError(
            f"the header of the repository's README.md is no YAML: {' '.join(str(error).split())}"
        ) from None
    if not isinstance(header, dict):
        raise UsageError("the header of the repository's README.md is no YAML mapping", remedy="mend it on the Hub")
    return header, text[found.end() :]


def _what(lineage: Lineage, layout: HubLayout, repository: str) -> str:
    export = lineage.export
    main, form = layout.configs[0], export.plan["options"]["format"]
    version = f" {lineage.version}" if lineage.version else ""
    queries = export.counts["queries"]
    lines = [
        f"# {repository.partition('/')[2]}",
        "",
        f"Training rows with mined hard negatives: {main.rows:,} rows for {queries:,} queries, in hnmine's format"
        f" `{form}`. Made by hnmine{version}.",
    ]
    if layout.loadable:
        width = max(len(config.name) for config in layout.loadable) + 4
        lines += ["", "```python", "from datasets import load_dataset", ""]
        for config in layout.loadable:
            named = "" if config.name == DEFAULT else f', "{config.name}"'
            call = f'load_dataset("{repository}"{named})'
            lines.append(f"{call:<{len(repository) + 16 + width}}  # {_splits(config)}")
        lines.append("```")
    others = [config for config in layout.configs if config not in layout.loadable]
    if others:
        lines += ["", "Files that are read by their own names:", ""]
        for config in others:
            names = [name for found in config.splits.values() for name in found]
            shown = f"`{names[0]}`" + (f" and {len(names) - 1:,} more" if len(names) > 1 else "")
            reader = f', by `load_dataset("{config.loader}", data_files=...)`' if config.loader else ""
            lines.append(f"- {shown}: {config.rows:,} rows{reader}")
    return "\n".join(lines)


def _splits(config: Config) -> str:
    names = ", ".join(config.splits)
    return f"{config.rows:,} rows ({names}): {', '.join(config.columns) or 'as the files say'}"


def _columns(layout: HubLayout, asked: Sequence[str]) -> str:
    """The columns of every table; `asked` are other names that rows were given, OLD=NEW."""
    renamed = {new: old for old, _, new in (pair.partition("=") for pair in asked)}
    known = [config for config in layout.configs if config.columns]
    rows = []
    for config in known:
        for name, kind in config.columns.items():
            meanings = _MEANINGS_OF_IDS if config.name == IDS else _MEANINGS
            meaning = meanings.get(name) or meanings.get(re.sub(r"_\d+$", "", renamed.get(name, name)), "")
            rows.append([config.name, f"`{name}`", kind, meaning])
    if not rows:
        return ""
    note = "\n\n`ids` has a row for each row of `default`, in the same order." if len(known) > 1 else ""
    return "## Columns\n\n" + _table(["config", "column", "type", "meaning"], rows) + note


def _sources(lineage: Lineage) -> str:
    found = lineage.collection
    if found is None:
        return ""
    counts, source = found.counts, found.plan["source"]
    files = [str(name) for name in source.get("files", [])]
    lines = [
        "## Collection",
        "",
        f"{counts['documents']:,} documents, {counts['queries']:,} queries, {counts['judgments']:,} judgments"
        f" ({source['kind']}{', split ' + str(source['split']) if source.get('split') else ''})"
        + (f", from {', '.join(f'`{name}`' for name in files[:8])}{' ...' if len(files) > 8 else ''}" if files else "")
        + ".",
        "",
        f"Fingerprint `{found.fingerprint[:16]}`.",
    ]
    return "\n".join(lines)


def _retrievers(lineage: Lineage) -> str:
    if lineage.candidates is None:
        return "## Retrievers\n\nWhat the candidates were mined with was not at hand when this card was written."
    plan = lineage.candidates.plan
    rows = [_retriever(name, index) for name, index in lineage.indexes.items()]
    for name, digest in plan["options"].get("run", {}).items():
        rows.append([f"`{name}`", "a run of another searcher", "", f"file `{str(digest)[:16]}`"])
    if plan["options"].get("random"):
        rows.append(["`random`", f"{plan['options']['random']} random documents a query", "", ""])
    rows += [_scorer(scored) for scored in lineage.scored]
    depth = plan["options"]["top_k"]
    counts = lineage.candidates.counts
    return (
        "## Retrievers\n\n"
        + _table(["name", "what", "model", "settings"], rows)
        + f"\n\n{counts['candidates']:,} candidates of {counts['queries']:,} queries, the first {depth} of each"
        " retriever."
    )


def _retriever(name: str, index: Artefact | None) -> list[str]:
    if index is None:
        return [f"`{name}`", "an index that was not at hand when this card was written", "", ""]
    options = index.plan["options"]
    if index.kind is Kind.BM25_INDEX:
        settings = [f"{key} {options[key]:g}" for key in ("k1", "b")]
        language = index.plan["analyser"]["language"]
        return [f"`{name}`", f"BM25 ({options['method']})", "", ", ".join([*settings, f"analyser {language}"])]
    what = {
        Kind.DENSE_INDEX: "dense vectors",
        Kind.SPARSE_INDEX: "learned sparse vectors",
        Kind.LATE_INDEX: "late interaction",
    }[index.kind]
    if model_of(index) is None:
        return [f"`{name}`", f"{what}, ready-made", "", ""]
    scale = index.plan.get("scale")
    return [f"`{name}`", what + (f", {scale}" if scale else ""), *_model(index)]


def _scorer(scored: Artefact) -> list[str]:
    info = scored.plan["scores"][-1]
    return [f"`{info['name']}`", f"cross-encoder, {info['scale']}", *_model(scored)]


def _model(artefact: Artefact) -> list[str]:
    """The cells `model` and `settings` of an artefact that has a model."""
    model = model_of(artefact)
    assert model is not None
    name = f"{model.name} (local)" if model.is_local else f"`{model.name}`"
    parts = [name]
    if model.revision:
        parts.append(f"revision `{model.revision[:12]}`")
    parts.append(
        f"weights `{model.fingerprint[:16]}`" if model.fingerprint else "behind a URL, known by its name alone"
    )
    facts = model.facts
    settings = [f"{side} prompt `{text}`" for side, text in (facts.get("prompts") or {}).items() if text]
    if facts.get("max_length"):
        settings.append(f"{facts['max_length']} tokens at most")
    dtype = (facts.get("machine") or {}).get("dtype")
    if dtype:
        settings.append(str(dtype))
    if artefact.plan["options"].get("truncate_dim"):
        settings.append(f"the first {artefact.plan['options']['truncate_dim']} dimensions")
    kind = (artefact.plan.get("ann") or {}).get("kind", "flat")
    if kind != "flat":
        settings.append(f"approximate search ({kind})")
    return [", ".join(parts), ", ".join(settings)]


def _choice(lineage: Lineage) -> str:
    decisions = lineage.decisions
    if decisions is None:
        return "## How negatives were chosen\n\nThe decisions were not at hand when this card was written."
    plan, counts = decisions.plan, decisions.counts
    scales = {score["name"]: score["scale"] for score in plan["scores"]}
    judge, verdicts = plan["judge_by"], counts["verdicts"]
    judged = f"judged by `{judge}` ({scales[judge]})" if judge else "judged by no score"
    ranked = f"ranked by `{plan['rank_by']}`" if plan["rank_by"] else "in no order"
    chosen = verdicts.get(Verdict.NEGATIVE.value, 0)
    lines = [
        "## How negatives were chosen",
        "",
        f"Up to {plan['options']['num_negatives']} a query, {judged}, {ranked}, picked by `{plan['pick']['token']}`;"
        f" seed {plan['options']['seed']}. Of {counts['candidates']:,} candidates of {counts['queries']:,} queries"
        f" {verdicts.get(Verdict.POSITIVE.value, 0):,} are positives, {chosen:,} were chosen,"
        f" {verdicts.get(Verdict.RESERVE.value, 0):,} passed and were not needed,"
        f" {verdicts.get(Verdict.DROPPED.value, 0):,} were dropped, each by the first rule that was against it:",
        "",
        _table(["rule", "setting", "dropped", "what it drops"], list(_dropped(plan, counts))),
    ]
    if new := counts["reasons"].get(decide.RELABELLED):
        callers = ", ".join(f"`{name}`" for name in counts["called_relevant"])
        lines += ["", f"{new:,} of the positives are not in the qrels: {callers} called them relevant."]
    if counts["queries_short"]:
        lines += ["", f"{counts['queries_short']:,} queries got fewer negatives than that."]
    estimate = _false_negatives(decisions)
    if estimate is not None:
        mean, most = estimate
        lines += [
            "",
            f"Estimated share of false negatives among the chosen: {mean:.2%} (mean of `{P_FALSE_NEGATIVE}`; the"
            f" highest is {most:.2%}). It is an estimate from the collection itself, without further labels.",
        ]
    found = counts["judge_scores"]
    spreads = {name: found[name] for name in ("positives", "negatives", "gap") if found.get(name)}
    if spreads:
        table = [
            [name, *(f"{spread[key]:.3f}" for key in ("mean", "p25", "p50", "p75"))] for name, spread in spreads.items()
        ]
        lines += ["", _table([f"{judge}", "mean", "first quartile", "median", "third quartile"], table)]
    return "\n".join(lines)


_NOT_DROPS = frozenset(
    {decide.KNOWN_POSITIVE, decide.RELABELLED, decide.PICKED, decide.NOT_NEEDED, decide.RANDOM_RESERVE}
)


def _dropped(plan: Json, counts: Json) -> Iterator[list[str]]:
    known = rules()
    options = {**plan["options"], **{name: value for name, value in plan["in_force"].items() if value is not None}}
    others = [reason for reason in counts["reasons"] if reason not in _NOT_DROPS and reason not in plan["rules"]]
    for reason in [*plan["rules"], *others]:
        rule = known.get(reason)
        what = (rule.__doc__ or "").split("\n")[0].removeprefix("Drops ").rstrip(".:") if rule else ""
        flags = [f"--{reason}", *re.findall(r"--[a-z-]+", (rule.knob if rule else None) or "")]
        set_ = [(flag, options.get(flag[2:].replace("-", "_"))) for flag in flags]
        setting = next((f"`{flag} {value}`" for flag, value in set_ if value not in (None, False, 0)), "")
        yield [f"`{reason}`", setting.replace(" True`", "`"), f"{counts['reasons'].get(reason, 0):,}", what]


def _false_negatives(decisions: Artefact) -> tuple[float, float] | None:
    """(mean, highest) estimated probability of the chosen negatives to be false; None where nothing was estimated."""
    total, count, most = 0.0, 0, 0.0
    for part in decisions.files():
        with pq.ParquetFile(os.fspath(part)) as file:
            if P_FALSE_NEGATIVE not in file.schema_arrow.names:
                return None
            for batch in file.iter_batches(columns=[VERDICT, P_FALSE_NEGATIVE]):
                chosen = np.asarray(batch[VERDICT].to_pylist(), object) == Verdict.NEGATIVE.value
                values = batch[P_FALSE_NEGATIVE].to_numpy(zero_copy_only=False)[chosen]
                values = values[~np.isnan(values)]
                total, count = total + float(values.sum(dtype=np.float64)), count + len(values)
                most = max(most, float(values.max(initial=0.0)))
    return (total / count, most) if count else None


def _again(lineage: Lineage) -> str:
    made = "\n".join(commands(lineage))
    version = f"pip install hnmine=={lineage.version}\n" if lineage.version else ""
    prints = [("export", lineage.export), ("decisions", lineage.decisions), ("candidates", lineage.candidates)]
    shown = ", ".join(f"{name} `{found.fingerprint[:16]}`" for name, found in prints if found is not None)
    script = f"## How to make it again\n\n```bash\n{version}{made}\n```"
    return f"{script}\n\nFingerprints: {shown}. Equal plans give equal bytes."


def _licence(licence: object) -> str:
    named = f"`{licence}`, as named by whoever pushed this." if licence else "Whoever pushed this named none."
    return f"## Licence\n\n{named} The texts are those of the collection, and so are the rights in them."


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(heads), ["---"] * len(heads), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
    )
