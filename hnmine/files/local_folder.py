"""Whole folders of an object store on this machine, for programs that read directories: models."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from hnmine.files import store
from hnmine.files.atomic import locked
from hnmine.files.remote import RemotePath
from hnmine.hashing import digest_json


def local_folder(path: RemotePath, root: Path) -> Path:
    """A local copy, below `root`, of the objects below `path` as they are now; each whole folder is fetched once.

    Raises `FileNotFoundError` if nothing lies there.
    """
    names = store.all_below(path.url)
    found = store.together(lambda name: store.info(f"{path.url}/{name}"), names)
    versions = [[name, info.version] for name, info in zip(names, found, strict=True) if info is not None]
    if not versions:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path.url)
    target = root / digest_json([path.url, versions])[:24]
    with locked(target.with_suffix(".lock")):
        if not target.exists():
            pending = target.with_suffix(".pending")
            shutil.rmtree(pending, ignore_errors=True)
            for name, _ in versions:
                (pending / name).parent.mkdir(parents=True, exist_ok=True)
            store.together(lambda entry: store.download(f"{path.url}/{entry[0]}", pending / entry[0]), versions)
            pending.rename(target)
    return target
