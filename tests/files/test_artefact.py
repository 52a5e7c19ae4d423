"""Artefacts describe themselves, resume, and refuse what does not match."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from hnmine.errors import ArtefactError, StorageError, UsageError
from hnmine.files.artefact import Artefact, Draft, differences, sum_counts
from hnmine.files.atomic import create_text, replacing, write_text
from hnmine.schema import Kind

PLAN = {"inputs": {}, "options": {"top_k": 100}, "blocks": ["block-00000", "block-00001"]}


def write_block(draft: Draft, index: int, text: str = "x") -> None:
    name = f"part-{index:05d}.parquet"
    write_text(draft.path / name, text)
    draft.commit(f"block-{index:05d}", {name: 1}, {"rows": 1, "reasons": {"a": index}})


def finished(path: Path) -> Artefact:
    draft = Draft.begin(path, Kind.CANDIDATES, PLAN)
    for index in range(2):
        write_block(draft, index)
    receipts = draft.receipts(PLAN["blocks"])  # type: ignore[arg-type]
    files = {name: entry for receipt in receipts for name, entry in receipt["files"].items()}
    return draft.close(files=files, counts=sum_counts(r["counts"] for r in receipts))


def test_a_finished_artefact_reads_back(tmp_path: Path) -> None:
    made = finished(tmp_path / "a")
    opened = Artefact.open(tmp_path / "a", Kind.CANDIDATES)
    assert opened.fingerprint == made.fingerprint
    assert opened.counts == {"reasons": {"a": 1}, "rows": 2}
    assert [p.name for p in opened.files()] == ["part-00000.parquet", "part-00001.parquet"]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [
        "manifest.json",
        "part-00000.parquet",
        "part-00001.parquet",
        "plan.json",
    ]


def test_parts_are_in_the_order_of_their_numbers_also_beyond_five_digits(tmp_path: Path) -> None:
    names = ["vectors/documents-99999.npy", "vectors/documents-100000.npy", "vectors/documents-100001.npy"]
    files = {name: {"rows": 8_192, "sha256": "", "bytes": 0} for name in sorted(names)}
    artefact = Artefact(tmp_path, {}, {"files": files}, "")
    assert artefact.files("vectors/documents-", ".npy") == [tmp_path / name for name in names]


def test_the_manifest_is_free_of_paths_and_times(tmp_path: Path) -> None:
    first = finished(tmp_path / "a").path / "manifest.json"
    second = finished(tmp_path / "elsewhere" / "b").path / "manifest.json"
    assert first.read_bytes() == second.read_bytes()


def test_another_plan_is_refused_with_the_difference(tmp_path: Path) -> None:
    finished(tmp_path / "a")
    other = {**PLAN, "options": {"top_k": 50}}
    with pytest.raises(ArtefactError, match=r"options.top_k: 100 -> 50"):
        Draft.begin(tmp_path / "a", Kind.CANDIDATES, other)
    draft = Draft.begin(tmp_path / "a", Kind.CANDIDATES, other, overwrite=True)
    assert not draft.is_closed
    assert [p.name for p in draft.path.iterdir()] == ["plan.json"]


@pytest.mark.parametrize("is_finished", [True, False])
def test_overwriting_removes_folders_of_any_name_that_hnmine_wrote(is_finished: bool, tmp_path: Path) -> None:
    draft = Draft.begin(tmp_path / "a", Kind.CANDIDATES, {**PLAN, "blocks": ["block-00000"]})
    for folder in ("mixed", "of-a-later-version"):
        write_text(draft.path / folder / "part-0", "x")
    draft.commit("block-00000", {"mixed/part-0": 1, "of-a-later-version/part-0": 1})
    if is_finished:
        draft.close(files=draft.receipts(["block-00000"])[0]["files"], counts={})
    again = Draft.begin(tmp_path / "a", Kind.CANDIDATES, {**PLAN, "seed": 1}, overwrite=True)
    assert [p.name for p in again.path.iterdir()] == ["plan.json"]


@pytest.mark.parametrize("damaged", ["plan.json", "manifest.json"])
def test_overwriting_removes_what_is_damaged(damaged: str, tmp_path: Path) -> None:
    path = finished(tmp_path / "a").path
    (path / damaged).write_text("{")
    again = Draft.begin(path, Kind.CANDIDATES, {**PLAN, "seed": 1}, overwrite=True)
    assert [p.name for p in again.path.iterdir()] == ["plan.json"]


def test_resuming_knows_finished_blocks(tmp_path: Path) -> None:
    write_block(Draft.begin(tmp_path / "a", Kind.CANDIDATES, PLAN), 0)
    again = Draft.begin(tmp_path / "a", Kind.CANDIDATES, PLAN)
    assert again.is_finished("block-00000")
    assert not again.is_finished("block-00001")
    (tmp_path / "a" / "part-00000.parquet").write_text("longer")
    assert not again.is_finished("block-00000")


def test_a_part_that_changed_after_its_block_was_finished_is_refused(tmp_path: Path) -> None:
    draft = Draft.begin(tmp_path / "a", Kind.CANDIDATES, PLAN)
    for index in range(2):
        write_block(draft, index)
    part = tmp_path / "a" / "part-00000.parquet"
    part.write_text("y")  # of the same size
    os.utime(part, ns=(1, 1))  # whatever the grain of the file system's clock
    receipts = draft.receipts(PLAN["blocks"])  # type: ignore[arg-type]
    files = {name: entry for receipt in receipts for name, entry in receipt["files"].items()}
    with pytest.raises(ArtefactError, match=r"part-00000.parquet changed since it was written"):
        draft.close(files=files, counts={})


def test_missing_blocks_are_listed(tmp_path: Path) -> None:
    draft = Draft.begin(tmp_path / "a", Kind.CANDIDATES, PLAN)
    write_block(draft, 1)
    with pytest.raises(ArtefactError, match=r"1 of 2 blocks are missing: block-00000") as caught:
        draft.receipts(PLAN["blocks"])  # type: ignore[arg-type]
    assert caught.value.exit_code == 4


def without(path: Path, key: str) -> None:
    """Take a key out of a JSON object."""
    found = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in found.items() if name != key}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: (p / "part-00001.parquet").write_text("y"), "part-00001.parquet is corrupt"),
        (lambda p: (p / "part-00001.parquet").unlink(), "part-00001.parquet is missing"),
        (lambda p: (p / "manifest.json").unlink(), "unfinished"),
        (lambda p: (p / "manifest.json").write_text("{"), "manifest.json is corrupt"),
        (lambda p: without(p / "manifest.json", "files"), "manifest.json is corrupt: no files"),
        (lambda p: without(p / "manifest.json", "counts"), "manifest.json is corrupt: no counts"),
        (lambda p: (p / "plan.json").write_text((p / "plan.json").read_text() + " "), "was changed after"),
        (lambda p: (p / "plan.json").unlink(), "holds no hnmine candidates"),
    ],
)
def test_damage_is_refused_by_name(tmp_path: Path, damage: object, message: str) -> None:
    path = finished(tmp_path / "a").path
    damage(path)  # type: ignore[operator]
    with pytest.raises(ArtefactError, match=message):
        Artefact.open(path, Kind.CANDIDATES)


def test_another_kind_and_another_version_are_refused(tmp_path: Path) -> None:
    path = finished(tmp_path / "a").path
    with pytest.raises(ArtefactError, match="is a candidates artefact"):
        Artefact.open(path, Kind.DECISIONS)
    plan = json.loads((path / "plan.json").read_text())
    (path / "plan.json").write_text(json.dumps({**plan, "format": 99}))
    with pytest.raises(ArtefactError, match="format version 99"):
        Artefact.open(path)


def test_a_directory_of_somebody_elses_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match="not empty"):
        Draft.begin(tmp_path, Kind.CANDIDATES, PLAN, overwrite=True)
    artefact = finished(tmp_path / "a").path
    (artefact / "notes.txt").write_text("precious")
    with pytest.raises(UsageError, match=r"notes.txt is not hnmine's"):
        Draft.begin(artefact, Kind.CANDIDATES, {**PLAN, "seed": 1}, overwrite=True)
    assert (artefact / "manifest.json").exists()


def test_inputs_are_found_by_relative_path_and_checked_by_fingerprint(tmp_path: Path) -> None:
    source = finished(tmp_path / "run" / "candidates")
    plan = {**PLAN, "inputs": {"candidates": source.fingerprint}, "blocks": []}
    draft = Draft.begin(tmp_path / "run" / "decisions", Kind.DECISIONS, plan)
    draft.write_run({}, {"candidates": source.path})
    draft.close(files={}, counts={})
    (tmp_path / "run").rename(tmp_path / "moved")
    made = Artefact.open(tmp_path / "moved" / "decisions")
    assert made.input("candidates", Kind.CANDIDATES).path == tmp_path / "moved" / "candidates"
    other = Draft.begin(tmp_path / "other", Kind.CANDIDATES, {**PLAN, "blocks": []}).close(files={}, counts={"rows": 9})
    with pytest.raises(ArtefactError, match="its fingerprint differs"):
        made.input("candidates", given=other.path)
    with pytest.raises(ArtefactError, match="cannot find the candidates"):
        made.input("candidates", given=tmp_path / "nowhere")


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"

    class Broken(RuntimeError):
        pass

    def fail() -> None:
        with replacing(target) as pending:
            pending.write_text("half")
            raise Broken

    with pytest.raises(Broken):
        fail()
    assert list(tmp_path.iterdir()) == []
    write_text(target, "whole")
    with pytest.raises(Broken):
        fail()
    assert target.read_text() == "whole"


def test_files_follow_the_umask(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_storage_failures_have_exit_code_7(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="a part of the path is a file") as caught:
        write_text(tmp_path / "file" / "below", "x")
    assert caught.value.exit_code == 7


def test_differences_name_leaves() -> None:
    old = {"a": {"b": 1, "c": [1]}, "d": None}
    assert differences(old, {"a": {"b": 2, "c": [1]}, "e": 0, "d": None}) == ["a.b: 1 -> 2", "e: absent -> 0"]


def test_counts_add_up_whatever_the_order() -> None:
    parts = [{"n": 1, "r": {"x": 2}}, {"r": {"y": 1, "x": 1}}, {"n": 4}]
    assert sum_counts(parts) == sum_counts(parts[::-1]) == {"n": 5, "r": {"x": 3, "y": 1}}


@pytest.mark.parametrize("overwrite", [False, True])
def test_of_two_plans_that_begin_at_the_same_moment_the_first_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    """The other process begins after this one saw that there is no plan, and before it writes its own."""
    other = {**PLAN, "options": {"top_k": 50}}
    mkdir, begun = Path.mkdir, list[bool]()

    def interrupted(path: Path, *args: object, **more: object) -> None:
        if not begun and path.name == "a":
            begun.append(True)
            Draft.begin(tmp_path / "a", Kind.CANDIDATES, other)
        mkdir(path, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", lambda path, *a, **m: interrupted(path, *a, **m))
    with pytest.raises(ArtefactError, match=r"options.top_k: 50 -> 100"):
        Draft.begin(tmp_path / "a", Kind.CANDIDATES, PLAN, overwrite=overwrite)
    assert json.loads((tmp_path / "a" / "plan.json").read_text())["options"] == {"top_k": 50}
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["plan.json"]


def begin(path: str, top_k: int, start: object, results: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    try:
        Draft.begin(Path(path), Kind.CANDIDATES, {**PLAN, "options": {"top_k": top_k}})
        results.put(("began", top_k))  # type: ignore[attr-defined]
    except ArtefactError as error:
        results.put(("refused", top_k, "another plan" in str(error)))  # type: ignore[attr-defined]


def test_processes_that_race_end_with_one_plan(tmp_path: Path) -> None:
    """Four processes, two plans: all of one plan begin, all of the other are refused."""
    processes = multiprocessing.get_context("fork")
    for attempt in range(10):
        path = tmp_path / str(attempt)
        start, results = processes.Barrier(4), processes.Queue()
        workers = [
            processes.Process(target=begin, args=(str(path), 10 + number % 2, start, results)) for number in range(4)
        ]
        for worker in workers:
            worker.start()
        told = [results.get(timeout=60) for _ in workers]
        for worker in workers:
            worker.join()
        stands = json.loads((path / "plan.json").read_text())["options"]["top_k"]
        assert sorted(told) == sorted([("began", stands)] * 2 + [("refused", 21 - stands, True)] * 2)
        assert [entry.name for entry in path.iterdir()] == ["plan.json"]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_hard_links_has_one_plan_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(code, "no links here")

    monkeypatch.setattr(os, "link", unsupported)
    assert create_text(tmp_path / "plan.json", "first")
    assert not create_text(tmp_path / "plan.json", "second")
    assert (tmp_path / "plan.json").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]
