"""A stand-in for the Hugging Face Hub: what huggingface_hub asks of it to push and to read datasets, over real HTTP.

Made after the client's source (0.30 to 2.4) and https://huggingface.co/docs/hub/api. It keeps repositories in memory,
refuses what the Hub refuses, and fails on demand: `hub.faults` are used up, one for each request that matches.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_good"
READER = "hf_reads"
"""A token that is accepted and may write nothing."""
LFS_SUFFIXES = (".parquet", ".arrow", ".gz", ".zst")
"""What a dataset repository's .gitattributes keeps apart, however small."""
MULTIPART_FROM, PART = 40_000, 16_000
"""Bytes from which an upload is cut into parts, and of each part."""
LICENCES = ("apache-2.0", "mit", "cc-by-4.0", "other", "unknown")


@dataclass(slots=True, kw_only=True)
class Fault:
    """A request that fails: `path` is searched for in `METHOD /path`; the answer is `status`, or a cut connection."""

    path: str
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    after: bool = False
    """Whether the request is carried out first, so that only its answer is lost."""
    times: int = 1
    body: str = '{"error": "made to fail"}'


@dataclass(slots=True)
class Repository:
    private: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    lfs: dict[str, str] = field(default_factory=dict)
    """Of the files that are kept apart: the SHA-256 by which they were committed."""
    commits: list[str] = field(default_factory=lambda: ["initial commit"])

    @property
    def sha(self) -> str:
        return hashlib.sha1(f"{len(self.commits)} {self.commits[-1]}".encode()).hexdigest()


class Hub:
    """The repositories, the uploaded objects, and what was asked."""

    def __init__(self) -> None:
        self.address = ""
        self.owners = {"me", "our-org"}
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.shards: list[bytes] = []
        """What Xet uploads were registered by; their chunks are counted and not kept."""
        self.requests: list[str] = []
        self.uploaded = 0
        """Bytes that came as objects."""
        self.faults: list[Fault] = []
        self.problems: list[str] = []
        """What a client asked that nobody thought of."""
        self.guard = threading.RLock()

    def fault(self, request: str) -> Fault | None:
        with self.guard:
            self.requests.append(request)
            for fault in self.faults:
                if re.search(fault.path, request):
                    fault.times -= 1
                    if not fault.times:
                        self.faults.remove(fault)
                    return fault
        return None

    def has_object(self, oid: str) -> bool:
        """Whether a file arrived: as an object, or in chunks that a shard ties to its SHA-256."""
        words = bytes.fromhex(oid)
        as_numbers = b"".join(words[start : start + 8][::-1] for start in range(0, 32, 8))
        return oid in self.objects or any(words in shard or as_numbers in shard for shard in self.shards)

    def asked(self, pattern: str) -> int:
        """How many requests there were of a kind."""
        return sum(re.search(pattern, request) is not None for request in self.requests)

    def variables(self, place: Path, token: str | None = TOKEN) -> dict[str, str]:
        """The environment of a process that pushes here, and keeps its caches at `place`."""
        given = {"HF_TOKEN": token} if token else {}
        return {
            "HF_ENDPOINT": self.address,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(place / "hf"),
            **given,
        }

    def write(self, name: str, folder: Path) -> Path:
        """Write the files of a repository to a directory, as a download of it would."""
        for path, content in self.repositories[name].files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        return folder

    @contextmanager
    def running(self) -> Iterator[Hub]:
        httpd = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.address = f"http://127.0.0.1:{httpd.server_address[1]}"
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            httpd.shutdown()
            thread.join()
            httpd.server_close()
        assert self.problems == []


class Answer(Exception):
    """The end of a request."""

    def __init__(self, status: int, body: Any = None, **headers: str) -> None:
        super().__init__(status)
        self.status = status
        self.body = body if isinstance(body, bytes) else json.dumps(body if body is not None else {}).encode()
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def _refused(status: int, message: str, code: str | None = None) -> Answer:
    known = {"X_Error_Code": code} if code else {}
    return Answer(status, {"error": message}, X_Error_Message=message, **known)


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            with suppress(ConnectionError):
                self.respond()

        do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815

        def respond(self) -> None:
            body = self.body()
            fault = hub.fault(f"{self.command} {self.path}")
            if fault is not None and not fault.after:
                self.fail(fault)
                return
            try:
                with hub.guard:
                    self.route(body)
                hub.problems.append(f"{self.command} {self.path}: the stand-in knows no such request")
                self.send(501, {}, b"{}")
            except Answer as found:
                if fault is not None:
                    self.fail(fault)
                    return
                self.send(found.status, found.headers, found.body)

        def body(self) -> bytes:
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found

        def fail(self, fault: Fault) -> None:
            if fault.status is not None:
                self.send(fault.status, fault.headers, fault.body.encode())
                return
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

        def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
            self.wfile.flush()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        # What is asked

        def route(self, body: bytes) -> None:
            asked = urlsplit(self.path)
            request = f"{self.command} {unquote(asked.path)}"
            options = {name: values[0] for name, values in parse_qs(asked.query).items()}
            for pattern, method in ROUTES:
                if found := re.fullmatch(pattern, request):
                    getattr(self, method)(body, options, **found.groupdict())

        @property
        def token(self) -> str:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if token not in (TOKEN, READER):
                raise _refused(401, "Invalid credentials in Authorization header")
            return token

        def may_write(self) -> None:
            if self.token != TOKEN:
                raise _refused(403, "you must use a write token")

        def repository(self, name: str) -> Repository:
            if name not in hub.repositories:
                raise _refused(404, "Repository not found", "RepoNotFound")
            return hub.repositories[name]

        def unknown(self, _body: bytes, _options: dict[str, str]) -> None:
            raise _refused(404, "there is no such page")

        def whoami(self, _body: bytes, _options: dict[str, str]) -> None:
            _ = self.token
            raise Answer(200, {"type": "user", "name": "me", "orgs": [{"name": "our-org"}], "auth": {}})

        def create(self, body: bytes, _options: dict[str, str]) -> None:
            self.may_write()
            asked = json.loads(body)
            assert asked["type"] == "dataset"
            if asked["organization"] not in hub.owners:
                raise _refused(403, f"You don't have the rights to create a dataset under {asked['organization']}")
            name = f"{asked['organization']}/{asked['name']}"
            if name in hub.repositories:
                raise Answer(409, {"error": "You already created this dataset repo", "url": f"{hub.address}/{name}"})
            private = asked.get("visibility") == "private" or bool(asked.get("private"))
            hub.repositories[name] = Repository(private, {".gitattributes": b"*.parquet filter=lfs\n"})
            raise Answer(200, {"url": f"{hub.address}/datasets/{name}", "name": name})

        def info(self, _body: bytes, _options: dict[str, str], name: str) -> None:
            found = self.repository(name)
            siblings = [{"rfilename": path} for path in found.files]
            raise Answer(
                200, {"id": name, "sha": found.sha, "private": found.private, "siblings": siblings, "tags": []}
            )

        def tree(self, _body: bytes, options: dict[str, str], name: str, below: str | None = None) -> None:
            found, start = self.repository(name), f"{below}/" if below else ""
            if start and not any(path.startswith(start) for path in found.files):
                raise _refused(404, f"{below} does not exist", "EntryNotFound")
            entries: dict[str, dict[str, Any]] = {}
            for path in sorted(path for path in found.files if path.startswith(start)):
                parts = path.removeprefix(start).split("/")
                for depth in range(1, len(parts)):
                    folder = start + "/".join(parts[:depth])
                    if depth == 1 or options.get("recursive", "").lower() == "true":
                        entries[folder] = {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0}
                if len(parts) == 1 or options.get("recursive", "").lower() == "true":
                    entries[path] = self.entry(found, path)
            raise Answer(200, list(entries.values()))

        def paths_info(self, body: bytes, _options: dict[str, str], name: str) -> None:
            found = self.repository(name)
            if self.headers["Content-Type"].startswith("application/json"):
                paths = json.loads(body)["paths"]
            else:
                paths = parse_qs(body.decode())["paths"]
            known = [self.entry(found, path) for path in paths if path in found.files]
            folders = [path for path in paths if any(file.startswith(f"{path}/") for file in found.files)]
            known += [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in folders]
            raise Answer(200, known)

        def entry(self, found: Repository, path: str) -> dict[str, Any]:
            content = found.files[path]
            entry = {"type": "file", "path": path, "size": len(content), "oid": git_name(content)}
            if path in found.lfs:
                entry["lfs"] = {"oid": found.lfs[path], "size": len(content), "pointerSize": 130}
            return entry

        def validate(self, body: bytes, _options: dict[str, str]) -> None:
            asked = json.loads(body)
            assert asked["repoType"] == "dataset"
            problems = card_problems(asked["content"])
            raise Answer(400 if problems else 200, {"errors": [{"message": p} for p in problems], "warnings": []})

        def preupload(self, body: bytes, _options: dict[str, str], name: str) -> None:
            self.may_write()
            found, files = self.repository(name), []
            for file in json.loads(body)["files"]:
                path = file["path"]
                mode = "lfs" if path.endswith(LFS_SUFFIXES) or file["size"] > 10_000_000 else "regular"
                told = {"path": path, "uploadMode": mode, "shouldIgnore": False}
                if path in found.files:
                    content = found.files[path]
                    told["oid"] = found.lfs.get(path) or git_name(content)
                files.append(told)
            raise Answer(200, {"files": files})

        def batch(self, body: bytes, _options: dict[str, str], name: str) -> None:
            self.may_write()
            self.repository(name)
            objects = []
            for asked in json.loads(body)["objects"]:
                told, oid = {"oid": asked["oid"], "size": asked["size"]}, asked["oid"]
                if oid not in hub.objects:
                    header: dict[str, str] = {}
                    href = f"{hub.address}/objects/{oid}"
                    if asked["size"] >= MULTIPART_FROM:
                        count = -(-asked["size"] // PART)
                        header = {str(part): f"{hub.address}/parts/{oid}/{part}" for part in range(1, count + 1)}
                        header["chunk_size"] = str(PART)
                        href = f"{hub.address}/complete/{oid}"
                    verify = {"href": f"{hub.address}/verify/{oid}"}
                    told["actions"] = {"upload": {"href": href, "header": header}, "verify": verify}
                objects.append(told)
            raise Answer(200, {"transfer": "basic", "objects": objects})

        def put_object(self, body: bytes, _options: dict[str, str], oid: str) -> None:
            if sha256(body) != oid:
                raise _refused(400, "the bytes are not those of the object")
            hub.objects[oid] = body
            hub.uploaded += len(body)
            raise Answer(200)

        def put_part(self, body: bytes, _options: dict[str, str], oid: str, part: str) -> None:
            hub.parts.setdefault(oid, {})[int(part)] = body
            hub.uploaded += len(body)
            raise Answer(200, ETag=f'"{hashlib.md5(body).hexdigest()}"')

        def complete(self, body: bytes, _options: dict[str, str], oid: str) -> None:
            asked, parts = json.loads(body), hub.parts[oid]
            etags = [f'"{hashlib.md5(parts[part["partNumber"]]).hexdigest()}"' for part in asked["parts"]]
            assert [part["etag"] for part in asked["parts"]] == etags
            content = b"".join(parts[part["partNumber"]] for part in asked["parts"])
            if sha256(content) != oid:
                raise _refused(400, "the parts are not the object")
            hub.objects[oid] = content
            raise Answer(200)

        def verify(self, body: bytes, _options: dict[str, str], oid: str) -> None:
            asked = json.loads(body)
            if len(hub.objects.get(oid, b"")) != asked["size"]:
                raise _refused(404, "the object did not arrive")
            raise Answer(200)

        def xet_token(self, _body: bytes, _options: dict[str, str], name: str) -> None:
            self.may_write()
            self.repository(name)
            until, place = str(int(time.time()) + 3_600), f"{hub.address}/xet"
            told = {"casUrl": place, "exp": int(until), "accessToken": "xet"}
            headers = {"X_Xet_Cas_Url": place, "X_Xet_Token_Expiration": until, "X_Xet_Access_Token": "xet"}
            raise Answer(200, told, **headers)

        def xet_chunks(self, body: bytes, _options: dict[str, str]) -> None:
            hub.uploaded += len(body)
            raise Answer(200, {"was_inserted": True})

        def xet_shard(self, body: bytes, _options: dict[str, str]) -> None:
            hub.shards.append(body)
            raise Answer(200, {"result": 1})

        def commit(self, body: bytes, _options: dict[str, str], name: str) -> None:
            self.may_write()
            found = self.repository(name)
            lines = [json.loads(line) for line in body.splitlines()]
            files, lfs, summary = dict(found.files), dict(found.lfs), ""
            for line in lines:
                value = line["value"]
                match line["key"]:
                    case "header":
                        summary = value["summary"]
                    case "file":
                        files[value["path"]] = base64.b64decode(value["content"])
                        lfs.pop(value["path"], None)
                    case "lfsFile":
                        if not hub.has_object(value["oid"]):
                            raise _refused(400, f"{value['path']}: its object was never uploaded")
                        files[value["path"]] = hub.objects.get(value["oid"], bytes(value["size"]))
                        lfs[value["path"]] = value["oid"]
                    case "deletedFile":
                        if value["path"] not in files:
                            raise _refused(404, "A file with this name doesn't exist", "EntryNotFound")
                        del files[value["path"]]
                        lfs.pop(value["path"], None)
            assert summary
            found.files, found.lfs = files, lfs
            found.commits.append(summary)
            url = f"{hub.address}/datasets/{name}/commit/{found.sha}"
            raise Answer(200, {"success": True, "commitOid": found.sha, "commitUrl": url})

        def resolve(self, _body: bytes, _options: dict[str, str], name: str, path: str) -> None:
            found = self.repository(name)
            if path not in found.files:
                raise _refused(404, "Entry not found", "EntryNotFound")
            content, size = found.files[path], len(found.files[path])
            tag = found.lfs.get(path) or git_name(content)
            headers = {"ETag": f'"{tag}"', "X_Repo_Commit": found.sha, "Accept_Ranges": "bytes"}
            if (wanted := self.headers.get("Range")) and (spans := re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)):
                start, stop = int(spans[1]), int(spans[2] or size - 1) + 1
                content = content[start:stop]
                headers["Content_Range"] = f"bytes {start}-{start + len(content) - 1}/{size}"
                raise Answer(206, content, **headers)
            raise Answer(200, content, **headers, Content_Length=str(size))

    return Handler


_NAME = r"(?P<name>[\w.-]+/[\w.-]+)"
_REVISION = r"(?:main|[0-9a-f]{40})"
ROUTES = (
    (r"GET /api/agent-harnesses", "unknown"),
    (r"GET /api/whoami-v2", "whoami"),
    (r"POST /api/repos/create", "create"),
    (r"POST /api/validate-yaml", "validate"),
    (rf"GET /api/datasets/{_NAME}(/revision/{_REVISION})?", "info"),
    (rf"GET /api/datasets/{_NAME}/tree/{_REVISION}(/(?P<below>.+))?", "tree"),
    (rf"POST /api/datasets/{_NAME}/paths-info/{_REVISION}", "paths_info"),
    (rf"POST /api/datasets/{_NAME}/preupload/main", "preupload"),
    (rf"POST /api/datasets/{_NAME}/commit/main", "commit"),
    (rf"GET /api/datasets/{_NAME}/xet-write-token/main", "xet_token"),
    (r"POST /xet/v1/xorbs/default/\w+", "xet_chunks"),
    (r"POST /xet/v1/shards", "xet_shard"),
    (r"(GET|POST) /xet/v1/(chunks|xorb-grants)/.+|POST /xet/v2/.+|POST /v1/telemetry", "unknown"),
    (rf"POST /datasets/{_NAME}\.git/info/lfs/objects/batch", "batch"),
    (rf"(?:GET|HEAD) /datasets/{_NAME}/resolve/{_REVISION}/(?P<path>.+)", "resolve"),
    (r"PUT /objects/(?P<oid>\w+)", "put_object"),
    (r"PUT /parts/(?P<oid>\w+)/(?P<part>\d+)", "put_part"),
    (r"POST /complete/(?P<oid>\w+)", "complete"),
    (r"POST /verify/(?P<oid>\w+)", "verify"),
)


def card_problems(text: str) -> list[str]:
    """What the Hub has against the header of a card."""
    import yaml

    found = re.match(r"---\r?\n(.*?)\r?\n---", text, re.DOTALL)
    header = yaml.safe_load(found[1]) if found else {}
    problems = []
    if "license" in header and header["license"] not in LICENCES:
        problems.append(f'"license" must be one of [{", ".join(LICENCES)}]')
    for config in header.get("configs", []):
        if not {"config_name", "data_files"} <= config.keys():
            problems.append('"configs" must have config_name and data_files')
    return problems


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_name(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
