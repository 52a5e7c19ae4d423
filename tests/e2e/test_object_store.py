"""S3 in and out, whole or failing: the same bytes as on a disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hnmine.files import store
from hnmine.files.remote import as_path
from tests.e2e import s3
from tests.e2e.harness import Chain, Done, contents

boto3 = pytest.importorskip("boto3")
pytest.importorskip("s3fs")
pytest.importorskip("moto.server")

STAGES = ("ingest", "bm25", "dense", "mine", "score", "filter", "export", "export-file")


@dataclass
class Bucket:
    """A bucket of the server, seen past hnmine."""

    name: str
    client: Any
    address: str

    def url(self, key: str = "") -> Any:
        return as_path(f"s3://{self.name}/{key}")

    def contents(self, folder: str) -> dict[str, bytes]:
        """As `harness.contents`."""
        found = s3.objects(self.client, self.name, folder.rstrip("/") + "/")
        return {name: data for name, data in sorted(found.items()) if name.rpartition("/")[2] != "run.json"}

    def receipts(self, artefact: str) -> list[str]:
        return sorted(s3.objects(self.client, self.name, f"{artefact}/receipts/"))

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def put_tree(self, folder: Path, key: str) -> None:
        for path in folder.rglob("*"):
            if path.is_file():
                self.put(f"{key}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)

    def written(self, key: str) -> Any:
        """When an object was written."""
        return self.client.head_object(Bucket=self.name, Key=key)["LastModified"]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with s3.server() as found:
        yield found


@pytest.fixture
def bucket(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket that this process and those it starts find."""
    yield from made_bucket(address, address, monkeypatch)


def made_bucket(server: str, address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    import fsspec

    for name, value in s3.variables(address).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FSSPEC_S3", json.dumps(s3.CLIENT))
    monkeypatch.setitem(fsspec.config.conf, "s3", s3.CLIENT)
    forget_connections()
    keys = {"aws_access_key_id": "somebody", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=server, **keys)
    name = f"bucket-{len(client.list_buckets()['Buckets'])}"
    client.create_bucket(Bucket=name)
    yield Bucket(name, client, address)
    forget_connections()


def forget_connections() -> None:
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    store._file_system.cache_clear()


@pytest.fixture
def proxy(address: str) -> s3.FaultyProxy:
    return s3.FaultyProxy(address)


@pytest.fixture
def faulty_bucket(proxy: s3.FaultyProxy, address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket behind the proxy."""
    with proxy.running() as before:
        yield from made_bucket(address, before, monkeypatch)


def there(chain: Chain, bucket: Bucket, data: str | None = None) -> Chain:
    """The chain with its root, and its data if given, in the bucket."""
    data_place = bucket.url(data) if data else chain.data
    return Chain(data_place, bucket.url("chain"), chain.encoder, chain.reranker)


def copied(chain: Chain, bucket: Bucket, *stages: str) -> Chain:
    """The chain in the bucket, with the finished artefacts of some stages, copied as a person would."""
    for stage in stages:
        bucket.put_tree(chain.path(stage), f"chain/{stage}")
    return there(chain, bucket)


def test_the_whole_chain_in_a_store_gives_the_bytes_of_a_disk(
    chain: Chain, bucket: Bucket, call: Callable[..., Done]
) -> None:
    bucket.put_tree(chain.data, "data/small")
    remote = there(chain, bucket, "data/small")
    for stage in STAGES:
        done = call(*remote.command(stage, remote.root))
        assert done.code == 0, done.stderr
        if stage != "export-file":
            assert bucket.contents(f"chain/{stage}") == contents(chain.path(stage)), stage
    assert bucket.contents("chain/train.hnmine/export") == contents(chain.path("export-file"))
    assert bucket.contents("chain")["train.parquet"] == (chain.root / "train.parquet").read_bytes()
    assert bucket.contents("chain")["train.ids.parquet"] == (chain.root / "train.ids.parquet").read_bytes()
