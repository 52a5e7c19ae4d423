"""An S3 server that is a real process (moto's), and a proxy before it that fails as networks and stores do."""

from __future__ import annotations

import http.client
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = ("unavailable", "reset", "lost answer", "truncated", "slow")
READ_TIMEOUT = 2
"""Seconds the tests' clients wait for an answer; a slow one takes longer."""
CLIENT = {"config_kwargs": {"read_timeout": READ_TIMEOUT, "retries": {"max_attempts": 1}}}
"""Settings of s3fs under which a failure reaches hnmine."""


def variables(address: str) -> dict[str, str]:
    """The environment of a process that is to find the server."""
    keys = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    return {**keys, "AWS_ENDPOINT_URL": address, "AWS_EC2_METADATA_DISABLED": "true"}


def free_port() -> int:
    """A port that nobody listens to now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def server() -> Iterator[str]:
    """The address of a running moto server."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 120
        while True:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            assert process.poll() is None, "moto's server did not start"
            assert time.monotonic() < end, "moto's server does not answer"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


class FaultyProxy:
    """Passes requests on, but every n-th one fails, in each of the ways of `FAULTS` in turn."""

    def __init__(self, behind: str, every: int = 10) -> None:
        self.behind = behind.removeprefix("http://")
        self.every = every
        self.faults = FAULTS
        self.injected: Counter[str] = Counter()
        self.requests: list[tuple[str, str]] = []
        self._guard = threading.Lock()

    def next_fault(self, method: str, path: str) -> str | None:
        """How this request is to fail, if it is to."""
        with self._guard:
            self.requests.append((method, path))
            if len(self.requests) % self.every:
                return None
            fault = self.faults[sum(self.injected.values()) % len(self.faults)]
            self.injected[fault] += 1
            return fault

    @contextmanager
    def running(self) -> Iterator[str]:
        """The address of the proxy."""
        httpd = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_address[1]}"
        finally:
            httpd.shutdown()
            thread.join()
            httpd.server_close()


def _handler(proxy: FaultyProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            with suppress(ConnectionError):
                self.pass_on()

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer  # noqa: N815

        def pass_on(self) -> None:
            fault = proxy.next_fault(self.command, self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if fault == "unavailable":
                self.send(
                    503, {}, b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
                )
                return
            if fault == "reset":
                self.reset()
                return
            if fault == "slow":
                time.sleep(READ_TIMEOUT + 1)
            status, headers, found = self.ask(body)
            if fault == "lost answer" or (fault == "truncated" and len(found) < 2):
                self.reset()
            elif fault == "truncated":
                self.send(status, headers, found, shown=len(found) // 2)
                self.reset()
            else:
                self.send(status, headers, found)

        def ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            connection = http.client.HTTPConnection(proxy.behind, timeout=60)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            found = answer.read()
            connection.close()
            return answer.status, dict(answer.getheaders()), found

        def send(self, status: int, headers: dict[str, str], body: bytes, shown: int | None = None) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            length = headers.get("Content-Length", str(len(body))) if self.command == "HEAD" else str(len(body))
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[:shown])
            self.wfile.flush()

        def reset(self) -> None:
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def objects(client: Any, bucket: str, prefix: str = "") -> dict[str, bytes]:
    """The objects of a bucket below a prefix, by the names from there on."""
    found: dict[str, bytes] = {}
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        for entry in page.get("Contents", ()):
            found[entry["Key"].removeprefix(prefix)] = client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
    return found
