"""Opens any input file as a stream of bytes or lines: plain, gzip, bzip2, xz or zstd, told apart by content.

The name of a file decides nothing here: a `.gz` that is plain text reads as text, a gzip file without the suffix is
decompressed. Text is UTF-8, with or without a byte order mark; lines end in LF or CRLF.
"""

from __future__ import annotations

import io
import os
import stat
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from hnmine.errors import HnmineError, InputError, ProblemLog, StorageError

MAGIC = {
    "gzip": b"\x1f\x8b",
    "bzip2": b"BZh",
    "xz": b"\xfd7zXZ\x00",
    "zstd": b"\x28\xb5\x2f\xfd",
}
SUFFIXES = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
_BZIP2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")
_HEAD = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """A file to read: where it is, and its name as the user knows it."""

    path: Path
    shown: str

    @property
    def name(self) -> str:
        """The bare name, fit for a plan."""
        return self.shown if self.shown in (STDIN, PIPE) else self.path.name

    @property
    def plain_name(self) -> str:
        """The bare name in lower case without the suffix of a compression."""
        name = self.name.lower()
        for suffix in SUFFIXES:
            name = name.removesuffix(suffix)
        return name


STDIN = "<stdin>"
PIPE = "<pipe>"


def spool(stream: BinaryIO) -> Path:
    """Copy a stream that can be read only once to a new temporary file; the caller removes it."""
    with tempfile.NamedTemporaryFile(prefix="hnmine-pipe-", delete=False) as copy:
        path = Path(copy.name)
        try:
            while chunk := stream.read(1 << 20):
                copy.write(chunk)
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise StorageError(f"cannot keep a copy of the piped input in {path.parent}: {error}") from error
            raise
    return path


def compression(head: bytes) -> str | None:
    """The compression a file starting with `head` has, or None."""
    for name, magic in MAGIC.items():
        if head.startswith(magic) and (name != "bzip2" or head[4:10] in _BZIP2_BLOCKS):
            return name
    return None


def open_binary(file: InputFile) -> BinaryIO:
    """The file's bytes, decompressed, from the start; the caller closes it.

    Raises `InputError` for what is no regular file (a pipe would lose what is read twice), `StorageError` when it may
    not be read. Reading may raise `decompression_errors()`: turn them into `translated`.
    """
    try:
        mode = file.path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise InputError(f"{file.shown}: not a regular file", remedy="write it to a file first")
        with open(file.path, "rb") as stream:
            kind = compression(stream.read(16))
        return _opened(file.path, kind)
    except OSError as error:
        raise translated(file, error) from error


def _opened(path: Path, kind: str | None) -> BinaryIO:
    if kind == "gzip":
        import gzip

        return cast(BinaryIO, io.BufferedReader(gzip.open(path, "rb"), 1 << 17))
    if kind == "bzip2":
        import bz2

        return cast(BinaryIO, bz2.open(path, "rb"))
    if kind == "xz":
        import lzma

        return cast(BinaryIO, lzma.open(path, "rb"))
    if kind == "zstd":
        import pyarrow as pa

        return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(os.fspath(path)), "zstd"), 1 << 17)
    return open(path, "rb")


def decompression_errors() -> tuple[type[Exception], ...]:
    """What reading a compressed stream may raise."""
    import lzma

    return (OSError, EOFError, zlib.error, lzma.LZMAError)


def translated(file: InputFile, error: Exception, line: int | None = None) -> HnmineError:
    """The error of hnmine that tells what went wrong with `file` (after `line`)."""
    where = file.shown if line is None else f"{file.shown}:{line}"
    if isinstance(error, FileNotFoundError):
        return InputError(f"{where}: no such file")
    if isinstance(error, IsADirectoryError):
        return InputError(f"{where}: a directory", expected="a file")
    if isinstance(error, OSError) and error.errno is not None:
        return StorageError(f"{where}: {error.strerror}")
    return InputError(
        f"{where}: broken or cut short compressed data ({error})",
        expected="a whole gzip, bzip2, xz or zstd file",
        remedy="fetch or write the file again",
    )


def read_head(file: InputFile) -> bytes:
    """The first 4096 bytes of the decompressed file."""
    try:
        with open_binary(file) as stream:
            return stream.read(_HEAD)
    except decompression_errors() as error:
        raise translated(file, error) from error


def raw_lines(file: InputFile, *, keep_ends: bool = False) -> Iterator[tuple[int, bytes]]:
    """Each line's number (from 1) and bytes, without a byte order mark and, unless `keep_ends`, its line end.

    Raises `InputError` for broken compression, UTF-16, binary content and a file compressed twice.
    """
    number = 0
    stream = open_binary(file)
    with stream:
        try:
            for number, line in enumerate(stream, 1):
                if number == 1:
                    refuse_other_than_text(file, line[:_HEAD])
                    line = line.removeprefix(b"\xef\xbb\xbf")
                yield number, line if keep_ends else line.removesuffix(b"\n").removesuffix(b"\r")
        except decompression_errors() as error:
            raise translated(file, error, number + 1) from error


def refuse_other_than_text(file: InputFile, head: bytes) -> None:
    """Raise `InputError` when a decompressed file starting with `head` is no UTF-8 text as a whole."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or (len(head) > 3 and (head[0] == 0) != (head[1] == 0)):
        raise InputError(
            f"{file.shown}: the text is UTF-16 or UTF-32",
            expected="UTF-8",
            remedy=f"iconv -f UTF-16 -t UTF-8 {file.name} > NEW",
        )
    again = compression(head)
    if again:
        raise InputError(f"{file.shown}: compressed twice ({again} inside)", remedy="decompress it once")
    claimed = SUFFIXES.get(file.path.suffix.lower())
    if b"\0" in head or (claimed and not _is_text(head) and not _is_compressed(file)):
        what = f"named {file.path.suffix} but holds no {claimed} data" if claimed else "binary data"
        raise InputError(f"{file.shown}: {what}", expected="UTF-8 text, plain or compressed")


def _is_compressed(file: InputFile) -> bool:
    with open(file.path, "rb") as stream:
        return compression(stream.read(16)) is not None


def _is_text(head: bytes) -> bool:
    return not any(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head) and _decodes(head)


def _decodes(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return True


def text_lines(file: InputFile, problems: ProblemLog) -> Iterator[tuple[int, str]]:
    """Each line's number (from 1) and text, without its line end; lines that are no UTF-8 go to `problems`."""
    for number, raw in raw_lines(file):
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            problems.add(WRONG_ENCODING, f"{file.shown}:{number}", byte_value(raw, error))
            continue
        yield number, text


WRONG_ENCODING = "wrong encoding"


def byte_value(raw: bytes, error: UnicodeDecodeError) -> str:
    """Names the first byte that is no UTF-8, its place and its surroundings."""
    around = raw[max(0, error.start - 20) : error.start + 20].decode(errors="replace")
    return f"byte 0x{raw[error.start]:02X} at column {error.start + 1} is not UTF-8: {around}"
