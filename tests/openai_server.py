"""A server on loopback that speaks as OpenAI's, and fails as it is told to."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[list[dict[str, str]]], str]


@dataclass
class FakeServer:
    """What the server does and what it saw.

    ``faults`` are taken by one request each, in order; when there are no more, requests succeed,
    but for those that ``fault_of`` names a fault for. After ``dies_after`` requests it is dead.
    """

    reply: Reply = lambda messages: json.dumps({"said": messages[-1]["content"]})
    faults: list[str] = field(default_factory=list)
    fault_of: Callable[[dict[str, Any]], str] = lambda body: ""
    dies_after: float = float("inf")
    seconds: float = 0.0
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    most_at_once: int = 0
    url: str = ""
    _at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def request(self, body: dict[str, Any], headers: dict[str, str]) -> Iterator[str]:
        """Note a request, and give its fault."""
        with self._lock:
            self.requests.append(body)
            self.headers.append(headers)
            self.times.append(time.monotonic())
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            fault = self.faults.pop(0) if self.faults else self.fault_of(body)
            if len(self.requests) > self.dies_after:
                fault = "drop"
        try:
            yield fault
        finally:
            with self._lock:
                self._at_once -= 1


@contextmanager
def serve(**settings: Any) -> Iterator[FakeServer]:
    """Run a server in the background."""
    fake = FakeServer(**settings)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            with fake.request(body, headers) as fault:
                time.sleep(fake.seconds)
                if fault == "drop":
                    self.connection.close()
                elif fault == "slow":
                    time.sleep(1.5)
                    self.send(200, {})
                elif fault == "cut":
                    self.send(200, answer(fake, self.path, body), cut=True)
                elif fault == "reset":
                    # closing with nothing to linger for resets the connection
                    linger = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    self.send(200, answer(fake, self.path, body), cut=True)
                elif fault in ("drip", "flood"):
                    self.send_for_ever(*((b" ", 0.05) if fault == "drip" else (b" " * 2**20, 0)))
                elif fault == "packed":
                    packed = gzip.compress(b" " * 2**24)
                    self.send(200, packed, {"Content-Encoding": "gzip"})
                elif fault.startswith("body "):
                    self.send(200, fault.removeprefix("body ").encode())
                elif fault == "malformed":
                    self.send(200, b"{no json")
                elif fault == "page":
                    self.send(200, b"<html>busy</html>", kind="text/html")
                elif fault == "empty":
                    self.send(200, {"choices": [], "data": []})
                elif fault.startswith("wait"):
                    seconds = fault.removeprefix("wait")
                    self.send(429, {"error": {"message": "slower"}}, {"Retry-After": seconds})
                elif fault:
                    status, _, message = fault.partition(" ")
                    self.send(int(status), {"error": {"message": message or "no"}})
                else:
                    self.send(200, answer(fake, self.path, body))

        def send_for_ever(self, part: bytes, pause: float) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            with suppress(OSError):  # until the client goes away
                while True:
                    self.wfile.write(part)
                    time.sleep(pause)

        def send(
            self,
            status: int,
            content: Any,
            headers: dict[str, str] | None = None,
            *,
            kind: str = "application/json",
            cut: bool = False,
        ) -> None:
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):  # the client went away
                self.wfile.write(data[: len(data) // 2] if cut else data)
            if cut:
                self.connection.close()

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """Print nothing: connections are dropped on purpose."""

    server = Server(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(fake: FakeServer, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """A chat completion, or embeddings: the length of a text and its number of vowels."""
    if path.endswith("/embeddings"):
        rows = [
            {"object": "embedding", "index": place, "embedding": vector_of(text)}
            for place, text in enumerate(body["input"])
        ]
        # a server may send them in any order
        return {"object": "list", "model": body["model"], "data": rows[::-1]}
    text = fake.reply(body["messages"])
    limit = body.get("max_tokens") or body["max_completion_tokens"]
    words = text.split(" ")
    written = min(len(words), limit)
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop" if len(words) <= limit else "length",
                "message": {"role": "assistant", "content": " ".join(words[:limit])},
            }
        ],
        "usage": {"prompt_tokens": 11, "completion_tokens": written, "total_tokens": 11 + written},
    }


def vector_of(text: str) -> list[float]:
    return [float(len(text)), float(sum(letter in "aeiou" for letter in text))]
