from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
from pathlib import Path

import pyarrow as pa
import pytest

from hnmine.errors import InputError, ProblemLog, StorageError
from hnmine.files.readers.streams import InputFile, raw_lines, spool, text_lines, translated


def lines(path: Path, problems: ProblemLog | None = None) -> list[tuple[int, str]]:
    return list(text_lines(InputFile(path=path, shown=path.name), problems if problems is not None else ProblemLog()))


def test_every_compression_is_told_by_content(packed) -> None:
    path = packed("text", "one\ntwo\n")
    renamed = path.rename(path.with_name("without-suffix"))
    assert lines(renamed) == [(1, "one"), (2, "two")]


def test_a_compressed_suffix_on_plain_text_reads_as_text(write) -> None:
    assert lines(write("corpus.jsonl.gz", "plain\n")) == [(1, "plain")]


def test_concatenated_members_are_one_stream(write) -> None:
    zstd = pa.compress(b"a\n", codec="zstd", asbytes=True)
    for name, member in (("a.gz", gzip.compress(b"a\n")), ("a.bz2", bz2.compress(b"a\n")), ("a.zst", zstd)):
        assert lines(write(name, member + member)) == [(1, "a"), (2, "a")]


def test_byte_order_mark_crlf_and_a_missing_last_line_end(write) -> None:
    assert lines(write("x", b"\xef\xbb\xbfone\r\n\r\ntwo\x85\xe2\x80\xa8".replace(b"\x85", b"\xc2\x85"))) == [
        (1, "one"),
        (2, ""),
        (3, "two\x85\u2028"),
    ]


def test_an_empty_file_has_no_lines(packed) -> None:
    assert lines(packed("empty", b"")) == []


def test_a_text_that_begins_like_bzip2_is_text(write) -> None:
    assert lines(write("x", "BZh is a magic number\n")) == [(1, "BZh is a magic number")]


def test_a_wrong_byte_is_a_problem_of_its_line_only(packed) -> None:
    problems = ProblemLog()
    path = packed("x", b"good\n\xe4hnlich\nalso good\n")
    assert lines(path, problems) == [(1, "good"), (3, "also good")]
    assert problems.counts == {"wrong encoding": 1}
    found = problems.first["wrong encoding"][0]
    assert found.where == f"{path.name}:2"
    assert found.value.startswith("byte 0xE4 at column 1 is not UTF-8")


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf16_is_an_error_with_the_way_out(write, codec: str) -> None:
    with pytest.raises(InputError, match="UTF-16 or UTF-32") as caught:
        lines(write("x.jsonl", '{"a": 1}\n'.encode(codec)))
    assert "iconv" in str(caught.value)


def test_a_name_that_promises_gzip_over_garbage_is_an_error(write) -> None:
    with pytest.raises(InputError, match=r"named \.gz but holds no gzip data"):
        lines(write("x.gz", b"\x91\x82\x93\x01\n\xff"))


def test_binary_content_is_an_error(write) -> None:
    with pytest.raises(InputError, match="binary data"):
        lines(write("x.jsonl", b"ab\0cd\n"))


def test_a_file_compressed_twice_is_an_error(write) -> None:
    with pytest.raises(InputError, match="compressed twice"):
        lines(write("x.gz", gzip.compress(gzip.compress(b"a\n"))))


@pytest.mark.parametrize(
    ("name", "compress"),
    [
        ("x.gz", gzip.compress),
        ("x.bz2", bz2.compress),
        ("x.xz", lzma.compress),
        ("x.zst", lambda data: pa.compress(data, codec="zstd", asbytes=True)),
    ],
)
def test_a_file_cut_short_is_an_error_that_names_it(write, name: str, compress) -> None:
    whole = compress("".join(f"line {n * 7919 % 104729}\n" for n in range(20000)).encode())
    with pytest.raises(InputError, match=rf"{name}:\d+: broken or cut short"):
        lines(write(name, whole[: len(whole) // 2]))


def test_missing_directory_and_forbidden_files(tmp_path: Path, write) -> None:
    with pytest.raises(InputError, match="no such file"):
        lines(tmp_path / "nothing")
    with pytest.raises(InputError, match="a directory"):
        lines(tmp_path)
    path = write("secret", "a\n")
    path.chmod(0)
    try:
        path.read_bytes()
    except PermissionError:
        with pytest.raises(StorageError, match="Permission denied"):
            lines(path)


def test_a_stream_left_early_closes_its_file(write) -> None:
    opened = raw_lines(InputFile(path=write("x", "a\nb\n"), shown="x"))
    assert next(opened) == (1, b"a")
    opened.close()  # type: ignore[attr-defined]
    assert list(opened) == []


def test_an_error_of_the_disk_is_no_error_of_the_data(tmp_path: Path) -> None:
    file = InputFile(path=tmp_path, shown="x")
    assert isinstance(translated(file, OSError(errno.EIO, "Input/output error"), 3), StorageError)
    assert isinstance(translated(file, EOFError("cut")), InputError)


def test_an_unreadable_pipe_leaves_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(StorageError, match="No space left"):
        spool(Broken())
    assert list(tmp_path.iterdir()) == []
