"""S3 in and out, whole or failing: the same bytes as on a disk."""

from __future__ import annotations

import gzip
import json
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hnmine.files import store
from hnmine.files.remote import as_path
from tests.e2e import s3
from tests.e2e.harness import STAGES, Chain, Cli, Done, contents, until
from tests.e2e.test_launchers import submitted

boto3 = pytest.importorskip("boto3")
pytest.importorskip("s3fs")
pytest.importorskip("moto.server")

BLOCK = "48"
"""Rows a block of `run` has here: every stage but one has several."""


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


def run_command(data: object, output: object, *more: object) -> list[object]:
    return ["run", data, "-o", output, "--no-dense", "-n", 4, *more]


@pytest.fixture(scope="module")
def plain_run(beir: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What `run` makes on a disk, but for its `run.json`s."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    done = Cli(cache)(*run_command(beir, folder), HNMINE_TEST_BLOCK_SIZE=BLOCK)
    assert done.code == 0, done.stderr
    return contents(folder)


@pytest.mark.slow
def test_slurm_without_a_shared_file_system(
    beir: Path, bucket: Bucket, cache: Path, plain_run: dict[str, bytes], tmp_path: Path
) -> None:
    bucket.put_tree(beir, "data")
    output = f"s3://{bucket.name}/run"
    words = run_command(f"s3://{bucket.name}/data", output, "--launcher", "slurm", "--tasks", 2, "--cpus", 1)
    planned = Cli(cache)("plan", *words[1:], HNMINE_TEST_BLOCK_SIZE=BLOCK)
    assert planned.code == 0, planned.stderr
    assert f"--output {output} " in planned.stdout
    (tmp_path / "jobs.sh").write_text(planned.stdout, encoding="utf-8")
    done = submitted(tmp_path / "jobs.sh", tmp_path, cache, HNMINE_TEST_BLOCK_SIZE=BLOCK)
    assert done.returncode == 0, done.stderr
    assert bucket.contents("run") == plain_run


@pytest.mark.slow
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


def test_run_from_a_store_into_a_store(
    beir: Path,
    plain_run: dict[str, bytes],
    bucket: Bucket,
    call: Callable[..., Done],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", BLOCK)
    bucket.put_tree(beir, "data/small")
    command = run_command(bucket.url("data/small"), bucket.url("run"))
    done = call(*command)
    assert done.code == 0, done.stderr
    assert bucket.contents("run") == plain_run
    again = call(*command, "--json")
    assert again.code == 0, again.stderr
    assert not any(stage["blocks"]["done_now"] for stage in again.json.values())


@pytest.mark.slow
def test_run_through_a_network_that_fails_every_tenth_request(
    beir: Path, plain_run: dict[str, bytes], faulty_bucket: Bucket, proxy: s3.FaultyProxy, cli: Cli, tmp_path: Path
) -> None:
    faulty_bucket.put_tree(beir, "data/small")
    command = run_command(faulty_bucket.url("data/small"), faulty_bucket.url("run"))
    done = cli(*command, HNMINE_CACHE=str(tmp_path), HNMINE_TEST_BLOCK_SIZE=BLOCK)
    assert done.code == 0, done.stderr
    assert faulty_bucket.contents("run") == plain_run
    assert set(proxy.injected) == set(s3.FAULTS)
    assert sum(proxy.injected.values()) == len(proxy.requests) // 10 > 20
    elsewhere = cli("doctor", faulty_bucket.url("run"), HNMINE_CACHE=str(tmp_path / "elsewhere"))
    assert elsewhere.code == 0, elsewhere.stderr


def test_killed_through_a_failing_network_and_resumed(
    chain: Chain, faulty_bucket: Bucket, proxy: s3.FaultyProxy, cli: Cli
) -> None:
    proxy.faults = ("unavailable", "reset", "lost answer", "truncated")
    remote = copied(chain, faulty_bucket, "ingest", "score")
    command = remote.command("filter", remote.root, "--json")
    process = cli.start(*command, HNMINE_TEST_BLOCK_PAUSE="0.5")
    until(lambda: len(faulty_bucket.receipts("chain/filter")) >= 2 or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    assert cli.end(process).code == -signal.SIGKILL
    count = len(faulty_bucket.receipts("chain/filter"))
    assert count >= 2

    done = cli(*command)

    assert done.code == 0, done.stderr
    assert done.json["blocks"]["done_now"] == done.json["blocks"]["total"] - count
    assert faulty_bucket.contents("chain/filter") == contents(chain.path("filter"))
    assert sum(proxy.injected.values()) > 4


def test_a_model_of_a_store_gives_the_bytes_of_one_on_a_disk(
    chain: Chain, bucket: Bucket, cli: Cli, cache: Path, tmp_path: Path
) -> None:
    bucket.put_tree(chain.encoder, "models/encoder")
    command = [*chain.command("dense", tmp_path), "--json"]
    moved = [bucket.url("models/encoder") if word == chain.encoder else word for word in command]
    assert moved != command
    done = cli(*moved)
    assert done.code == 0, done.stderr
    assert contents(tmp_path / "dense") == contents(chain.path("dense"))
    gone = [bucket.url("models/nothing") if word == chain.encoder else word for word in command]
    refused = cli(*gone, "--overwrite")
    assert refused.code == 5
    assert "models/nothing holds no model" in refused.stderr


def test_only_lost_blocks_are_done_again(chain: Chain, bucket: Bucket, call: Callable[..., Done]) -> None:
    remote = copied(chain, bucket, "ingest", "score")
    first = call(*remote.command("filter", remote.root, "--shard", "0/2", "--json"))
    assert first.code == 0, first.stderr
    lost, damaged, *kept = bucket.receipts("chain/filter")
    bucket.delete(f"chain/filter/receipts/{lost}")
    part = f"chain/filter/part-{damaged[-10:-5]}.parquet"
    assert bucket.contents("chain/filter")[part.rpartition("/")[2]]
    bucket.put(part, b"cut short")

    done = call(*remote.command("filter", remote.root, "--json"))

    assert done.code == 0, done.stderr
    assert len(kept) >= 1
    assert done.json["blocks"]["done_now"] == done.json["blocks"]["total"] - len(kept)
    assert bucket.contents("chain/filter") == contents(chain.path("filter"))


def test_a_signal_saves_the_finished_blocks(chain: Chain, bucket: Bucket, cli: Cli) -> None:
    remote = copied(chain, bucket, "ingest", "score")
    process = cli.start(*remote.command("filter", remote.root), HNMINE_TEST_BLOCK_PAUSE="0.5")
    until(lambda: bool(bucket.receipts("chain/filter")) or process.poll() is not None)
    process.send_signal(signal.SIGTERM)
    stopped = cli.end(process)
    assert stopped.code == 75, stopped.stderr
    assert bucket.receipts("chain/filter")
    assert "manifest.json" not in bucket.contents("chain/filter")


@pytest.mark.parametrize("stage", ["filter", pytest.param("ingest", marks=pytest.mark.slow)])
def test_two_jobs_with_one_plan_share_the_work(stage: str, chain: Chain, bucket: Bucket, cli: Cli) -> None:
    remote = copied(chain, bucket, *(["ingest", "score"] if stage == "filter" else []))
    command = remote.command(stage, remote.root, "--json")
    jobs = [cli.start(*command, HNMINE_TEST_BLOCK_PAUSE="0.3") for _ in range(2)]
    done = [cli.end(job) for job in jobs]
    assert [one.code for one in done] == [0, 0], [one.stderr for one in done]
    assert bucket.contents(f"chain/{stage}") == contents(chain.path(stage))
    if stage == "filter":  # what both begin within a moment is done twice; `ingest` is one stream
        total = done[0].json["blocks"]["total"]
        assert total <= sum(one.json["blocks"]["done_now"] for one in done) <= total + 2


def test_of_many_who_create_a_plan_one_does(bucket: Bucket) -> None:
    url = bucket.url("plan.json").url
    with ThreadPoolExecutor(12) as pool:
        created = list(pool.map(lambda number: store.create(url, b"%d" % number), range(12)))
    assert created.count(True) == 1
    assert store.read(url) == b"%d" % created.index(True)


def test_of_two_jobs_with_different_plans_the_second_is_refused(
    chain: Chain, bucket: Bucket, call: Callable[..., Done]
) -> None:
    remote = copied(chain, bucket, "ingest", "score")
    begun = call(*remote.command("filter", remote.root, "--shard", "0/2"))
    assert begun.code == 0, begun.stderr
    other = call(*remote.command("filter", remote.root, "--seed", 2))
    assert other.code == 4
    assert "was made with another plan" in other.stderr
    assert call(*remote.command("filter", remote.root)).code == 0
    assert bucket.contents("chain/filter") == contents(chain.path("filter"))


@pytest.mark.parametrize(
    "stage", ["filter", *(pytest.param(s, marks=pytest.mark.slow) for s in ("mine", "export-file"))]
)
def test_shards_merged_are_one(stage: str, chain: Chain, bucket: Bucket, call: Callable[..., Done]) -> None:
    inputs = [one for one in STAGES[: STAGES.index(stage)] if one != "export"]
    remote = copied(chain, bucket, *inputs)
    name = "train.hnmine/export" if stage == "export-file" else stage
    for shard in (2, 0):
        done = call(*remote.command(stage, remote.root, "--shard", f"{shard}/3"))
        assert done.code == 0, done.stderr
    missing = call("merge", remote.artefact(stage, remote.root))
    assert missing.code == 4
    assert "-00001" in missing.stderr
    assert call(*remote.command(stage, remote.root, "--shard", "1/3")).code == 0
    merged = call("merge", remote.artefact(stage, remote.root))
    assert merged.code == 0, merged.stderr
    assert bucket.contents(f"chain/{name}") == contents(chain.path(stage))


@pytest.mark.slow
def test_workers_elsewhere(chain: Chain, bucket: Bucket, cli: Cli) -> None:
    remote = copied(chain, bucket, "ingest", "bm25", "dense")
    done = cli(*remote.command("mine", remote.root, "--executor", "local:2", "--json"))
    assert done.code == 0, done.stderr
    assert done.json["blocks"]["done_now"] == done.json["blocks"]["total"]
    assert bucket.contents("chain/mine") == contents(chain.path("mine"))


def test_inputs_and_output_in_different_places(
    chain: Chain, bucket: Bucket, call: Callable[..., Done], tmp_path: Path
) -> None:
    """Candidates on the disk from an index in the store; decisions in the store from candidates on the disk."""
    remote = copied(chain, bucket, "ingest", "bm25", "dense")
    done = call(*remote.command("mine", tmp_path))
    assert done.code == 0, done.stderr
    assert contents(tmp_path / "mine") == contents(chain.path("mine"))
    inputs = json.loads((tmp_path / "mine" / "run.json").read_text(encoding="utf-8"))["inputs"]
    assert inputs["collection"] == str(bucket.url("chain/ingest"))
    away = call("filter", tmp_path / "mine", "-o", bucket.url("away"), "-n", 4)
    assert away.code == 0, away.stderr
    exported = call("export", bucket.url("away"), "-o", "-")
    assert exported.code == 0, exported.stderr
    here = call("filter", chain.path("mine"), "-o", tmp_path / "here", "-n", 4)
    assert here.code == 0, here.stderr
    assert exported.stdout == call("export", tmp_path / "here", "-o", "-").stdout
    assert exported.stdout.startswith("{")


def test_every_other_input_may_be_in_a_store(
    chain: Chain, bucket: Bucket, call: Callable[..., Done], tmp_path: Path
) -> None:
    """Lists, runs, rules, qrels, configuration: as from a disk."""
    rows = [json.loads(line) for line in (chain.data / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    files = {
        "held out=1/queries.jsonl.gz": gzip.compress("".join(json.dumps(row) + "\n" for row in rows[:9]).encode()),
        "runs/splade.trec": "".join(
            f"{row['_id']} Q0 d{n} {n + 1} {9 - n} x\n" for row in rows for n in range(3)
        ).encode(),
        "rules.toml": b"[filter]\nnum-negatives = 2\nskip-top = 1\n",
        "qrels.tsv": (chain.data / "qrels" / "train.tsv").read_bytes(),
    }
    for name, data in files.items():
        bucket.put(name, data)
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)

    def results(place: Any, root: Path) -> list[Any]:
        mined = ["mine", chain.path("ingest"), "--index", f"words={chain.path('bm25')}", "-o", root / "mined"]
        lists = [
            "--exclude-queries",
            place / "held out=1/queries.jsonl.gz",
            "--run",
            f"splade={place / 'runs/splade.trec'}",
        ]
        steps = [
            [*mined, *lists],
            ["filter", root / "mined", "-o", root / "decided", "--rules", place / "rules.toml"],
            ["export", root / "decided", "-o", root / "file.parquet"],
            ["audit", root / "file.parquet", "--qrels", place / "qrels.tsv", "--json"],
            ["sweep", root / "mined", "--qrels", place / "qrels.tsv", "-n", 2, "--json", "-o", root / "sweep.csv"],
        ]
        done = [call(*step) for step in steps]
        assert [one.code for one in done] == [0] * len(steps), [one.stderr for one in done]
        return [one.stdout for one in done[3:]]

    assert results(bucket.url(), bucket.url("there")) == results(tmp_path, tmp_path / "here")
    assert bucket.contents("there/mined") == contents(tmp_path / "here" / "mined")
    assert bucket.contents("there")["sweep.csv"] == (tmp_path / "here" / "sweep.csv").read_bytes()
    assert bucket.contents("there")["file.parquet"] == (tmp_path / "here" / "file.parquet").read_bytes()


def test_blocks_are_taken_over_within_a_store(chain: Chain, bucket: Bucket, call: Callable[..., Done]) -> None:
    remote = copied(chain, bucket, "ingest", "bm25")
    command = ["index", "bm25", bucket.url("chain/ingest"), "-o", bucket.url("again")]
    done = call(*command, "--append", bucket.url("chain/bm25"), "--json")
    assert done.code == 0, done.stderr
    assert done.json["blocks"]["taken_over"] == done.json["blocks"]["total"]
    assert bucket.contents("again") == contents(chain.path("bm25"))
    assert remote.path("bm25").exists()


def test_damage_is_told(chain: Chain, bucket: Bucket, call: Callable[..., Done]) -> None:
    copied(chain, bucket, "ingest", "mine", "score")
    part = bucket.contents("chain/score")["part-00000.parquet"]
    bucket.put("chain/score/part-00000.parquet", part[:-1] + bytes([part[-1] ^ 1]))
    sick = call("doctor", bucket.url("chain/score"))
    assert sick.code == 4
    assert "part-00000.parquet is corrupt" in sick.stdout
    done = call("filter", bucket.url("chain/score"), "-o", bucket.url("out"))  # hashed when it arrives
    assert done.code == 4
    assert "part-00000.parquet is corrupt" in done.stderr
    bucket.delete("chain/mine/part-00000.parquet")
    gone = call("inspect", bucket.url("chain/mine"))
    assert gone.code == 4
    assert "part-00000.parquet is missing" in gone.stderr


def test_what_is_not_there(bucket: Bucket, call: Callable[..., Done], beir: Path) -> None:
    no_data = call("ingest", bucket.url("nothing"), "-o", bucket.url("x"))
    assert (no_data.code, f"{bucket.url('nothing')}: no such file" in no_data.stderr) == (3, True), no_data.stderr
    no_artefact = call("filter", bucket.url("nothing"), "-o", bucket.url("x"))
    assert (no_artefact.code, "does not exist" in no_artefact.stderr) == (4, True), no_artefact.stderr
    no_bucket = call("ingest", beir, "-o", "s3://there-is-none/x")
    assert (no_bucket.code, "cannot write s3://there-is-none/x" in no_bucket.stderr) == (7, True), no_bucket.stderr
    bucket.put("full/notes.txt", b"mine")
    foreign = call("ingest", beir, "-o", bucket.url("full"))
    assert (foreign.code, "is not empty" in foreign.stderr) == (2, True), foreign.stderr
    assert bucket.contents("full") == {"notes.txt": b"mine"}


def test_overwrite_removes_what_was_there(chain: Chain, bucket: Bucket, call: Callable[..., Done]) -> None:
    remote = copied(chain, bucket, "ingest", "score", "filter")
    command = remote.command("filter", remote.root, "--seed", 5)
    assert call(*command).code == 4
    assert call(*command, "--overwrite").code == 0
    assert json.loads(bucket.contents("chain/filter")["plan.json"])["options"]["seed"] == 5
    assert call(*remote.command("filter", remote.root), "--overwrite").code == 0
    assert bucket.contents("chain/filter") == contents(chain.path("filter"))
