"""Opens a directory, or files named one by one, as a collection in parts: BEIR's layout and MS MARCO's."""

from __future__ import annotations

from pathlib import Path

from hnmine.errors import InputError, UsageError
from hnmine.files.readers.layout import (
    beir_splits,
    beir_texts,
    choose_split,
    existing_file,
    msmarco_parts,
    named_files,
    split_of,
)
from hnmine.files.readers.parts import Parts, PartsSource
from hnmine.files.readers.source import Findings
from hnmine.files.readers.streams import InputFile
from hnmine.files.remote import as_path
from hnmine.options import InputOptions


def open_directory(directory: Path, shown: str, options: InputOptions) -> PartsSource:
    """The collection in a directory, its parts replaced by those the options name.

    Raises `InputError` or `UsageError` with everything that is missing.
    """
    findings = Findings()
    corpus: tuple[InputFile, ...] = ()
    queries: tuple[InputFile, ...] = ()
    qrels: InputFile | None = None
    split: str | None = None
    collection, queries_by_split, qrels_by_split = msmarco_parts(directory, shown)
    kind = "msmarco" if collection else "beir"

    with findings.collect():
        corpus = named_files(options.corpus) if options.corpus else collection or beir_texts(directory, shown, "corpus")
        if not corpus:
            raise InputError(
                f"{shown}: no corpus in this directory, which has: {_listing(directory)}",
                expected="corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv (BEIR), or collection.tsv, queries.SPLIT.tsv"
                " and qrels.SPLIT.tsv (MS MARCO), plain or compressed",
                remedy="name the parts with --corpus, --queries and --qrels",
            )
    with findings.collect():
        if options.qrels:
            qrels, split = named_qrels(options.qrels, options.split)
        else:
            splits = qrels_by_split
            if kind == "beir" and (directory / "qrels").is_dir():
                splits = beir_splits(directory / "qrels", f"{shown.rstrip('/')}/qrels")
            if splits or options.split:
                split = choose_split(splits, options.split, shown)
                qrels = splits[split]
    with findings.collect():
        if options.queries:
            queries = named_files(options.queries)
        elif kind == "beir":
            queries = beir_texts(directory, shown, "queries")
        elif split is not None:
            if split not in queries_by_split:
                raise InputError(
                    f"{shown}: no queries.{split}.tsv for the qrels of split {split!r}",
                    expected=f"one of: {', '.join(queries_by_split) or 'none there'}",
                    remedy="name the queries with --queries, or another split with --split",
                )
            queries = (queries_by_split[split],)
        elif queries_by_split:
            queries = tuple(queries_by_split.values())
    if not queries and qrels is None:
        kind = "corpus"
    return PartsSource(kind, Parts(corpus=corpus, queries=queries, qrels=qrels, split=split or None), findings)


def open_corpus(file: InputFile, options: InputOptions) -> PartsSource:
    """A lone corpus file; with `--queries` and `--qrels` a whole collection."""
    findings = Findings()
    corpus: tuple[InputFile, ...] = (file,)
    queries: tuple[InputFile, ...] = ()
    qrels: InputFile | None = None
    split: str | None = None
    with findings.collect():
        corpus = named_files(options.corpus) if options.corpus else corpus
    with findings.collect():
        queries = named_files(options.queries) if options.queries else ()
    with findings.collect():
        if options.qrels:
            qrels, split = named_qrels(options.qrels, options.split)
        elif options.split:
            raise UsageError(f"--split {options.split}: {file.shown} is a corpus alone", remedy="add --qrels")
    kind = "beir" if queries or qrels else "corpus"
    return PartsSource(kind, Parts(corpus=corpus, queries=queries, qrels=qrels, split=split or None), findings)


def named_qrels(given: str, wanted: str | None) -> tuple[InputFile, str]:
    """The qrels file that `--qrels` names, itself or as a split of a directory, and its split."""
    path = as_path(given)
    if path.is_dir():
        splits = beir_splits(path, given)
        split = choose_split(splits, wanted, given)
        return splits[split], split
    file = existing_file(given)
    if wanted is not None and wanted != split_of(file):
        raise UsageError(
            f"--split {wanted} and --qrels {given} do not go together", remedy="leave one of the two options out"
        )
    return file, split_of(file)


def _listing(directory: Path, most: int = 8) -> str:
    names = sorted(item.name + ("/" if item.is_dir() else "") for item in directory.iterdir())
    return (", ".join(names[:most]) + (", ..." if len(names) > most else "")) or "nothing"
