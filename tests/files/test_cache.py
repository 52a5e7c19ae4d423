"""Local copies: bounded, least recently used first to go, never those in use, made once for all processes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hnmine.errors import UsageError
from hnmine.files.cache import Copies, copies, parse_size


def made_of(size: int) -> Callable[[Path], None]:
    return lambda pending: (pending.write_bytes(b"x" * size), None)[1]


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if not path.name.startswith("."))


def let_go(held: Copies) -> None:
    """As if the process ended."""
    for name in list(held._held):
        held._release(name)


def test_what_was_used_least_recently_goes(tmp_path: Path) -> None:
    kept = Copies(tmp_path, 300)
    for name in ("a1", "b2", "c3"):
        kept.get(name, made_of(100))
        time.sleep(0.01)
    kept.get("a1", made_of(0))
    let_go(kept)
    Copies(tmp_path, 300).get("d4", made_of(100))
    assert names(tmp_path) == ["a1", "c3", "d4"]


def test_what_another_process_uses_stays(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from hnmine.files.cache import Copies\n"
        f"Copies(Path({str(tmp_path)!r}), 250).get('a1', lambda p: p.write_bytes(b'x' * 100))\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    user = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert user.stdout is not None
    assert user.stdout.readline() == "held\n"
    ours = Copies(tmp_path, 250)
    for name in ("b2", "c3", "d4"):
        time.sleep(0.01)
        ours.get(name, made_of(100))
    assert "a1" in names(tmp_path)
    user.kill()
    user.communicate()
    let_go(ours)
    ours.get("e5", made_of(100))
    assert "a1" not in names(tmp_path)


def test_one_process_that_reads_more_than_fits_stays_within_the_bound(tmp_path: Path) -> None:
    kept = Copies(tmp_path, 1000)
    for number in range(40):
        assert kept.get(f"{number:02d}", made_of(100)).stat().st_size == 100
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1000
    assert names(tmp_path)[-1] == "39"


def test_a_file_larger_than_the_bound_is_there_while_it_is_used(tmp_path: Path) -> None:
    kept = Copies(tmp_path, 50)
    assert kept.get("a1", made_of(100)).stat().st_size == 100
    assert kept.get("b2", made_of(100)).stat().st_size == 100


def test_a_mapped_file_can_be_read_though_its_name_went(tmp_path: Path) -> None:
    kept = Copies(tmp_path, 150)
    with open(kept.get("a1", lambda pending: (pending.write_bytes(b"y" * 100), None)[1]), "rb") as stream:
        kept.get("b2", made_of(100))
        let_go(kept)
        Copies(tmp_path, 150).get("c3", made_of(100))
        assert "a1" not in names(tmp_path)
        assert stream.read() == b"y" * 100


def test_a_copy_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    kept = Copies(tmp_path, 1000)
    kept.get("a1", made_of(10)).unlink()
    assert kept.get("a1", made_of(20)).stat().st_size == 20


def test_many_ask_and_one_fetches(tmp_path: Path) -> None:
    fetched = []

    def fetch(pending: Path) -> None:
        fetched.append(pending)
        time.sleep(0.05)
        pending.write_bytes(b"x")

    threads = [threading.Thread(target=lambda: Copies(tmp_path, 100).get("a1", fetch)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fetched) == 1
    assert names(tmp_path) == ["a1"]


def test_a_fetch_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fetch(pending: Path) -> None:
        pending.write_bytes(b"half")
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        Copies(tmp_path, 100).get("a1", fetch)
    assert [path for path in tmp_path.iterdir() if not path.name.startswith(".lock-")] == []


@pytest.mark.parametrize(
    ("text", "size"),
    [("1000", 1000), ("20GB", 20 * 10**9), ("1.5 g", 15 * 10**8), ("500MB", 5 * 10**8), ("2TB", 2 * 10**12)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_a_size_that_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HNMINE_CACHE", str(tmp_path))
    monkeypatch.setenv("HNMINE_STORE_CACHE", "a lot")
    with pytest.raises(UsageError, match="HNMINE_STORE_CACHE=a lot"):
        copies()


def test_the_default_leaves_half_of_the_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HNMINE_CACHE", str(tmp_path))
    monkeypatch.delenv("HNMINE_STORE_CACHE", raising=False)
    assert 0 < copies().most <= 64 * 2**30
    assert copies().root == tmp_path / "objects"
