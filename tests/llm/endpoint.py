"""A real server that speaks the chat-completions protocol on this machine, and does to a caller what servers do."""

import json
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

__all__ = [
    "KEY",
    "Answer",
    "Endpoint",
    "choice",
    "completion",
    "error",
    "hang",
    "interrupting",
    "redirect",
    "serving",
    "unused_url",
]

KEY = "dummy-key-for-tests-1"
PATIENCE = 20  # seconds after which a test that waits for something gives up


@dataclass(frozen=True)
class Answer:
    """What is sent back.

    Attributes:
        missing: Bytes of the body that are announced and never come.
        held: Nothing comes at all, till the endpoint is closed.
        raw: Sent in the place of all else, so that it can be no HTTP.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = "application/json"
    missing: int = 0
    held: bool = False
    raw: bytes = b""


def choice(content: Any, finish_reason: str = "stop") -> dict[str, Any]:
    return {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": content}}


def completion(content: Any = "  An answer. ", **fields: Any) -> Answer:
    """An answer with one choice; fields take the place of those of the protocol."""
    answer = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice(content)]}
    return Answer(body=json.dumps({**answer, **fields}).encode())


def error(status: int, message: str = "this is an error", **headers: str) -> Answer:
    """An error as the protocol words it; ``retry_after="7"`` is the header Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps({"error": {"message": message}}).encode(), named)


def redirect(location: str, status: int = 307) -> Answer:
    return Answer(status, headers={"Location": location})


def hang() -> Answer:
    """No answer, till the endpoint is closed."""
    return Answer(held=True)


def interrupting() -> Callable[[str], Answer]:
    """What an endpoint does that interrupts the thread which calls this, as the keyboard would, and then hangs."""
    if not hasattr(signal, "pthread_kill"):
        pytest.skip("only POSIX can interrupt a thread that waits for a socket")
    caller = threading.get_ident()

    def interrupt(prompt: str) -> Answer:
        signal.pthread_kill(caller, signal.SIGINT)
        return hang()

    return interrupt


class Endpoint(ThreadingHTTPServer):
    """Keeps what it is sent, and answers with what it is told.

    Attributes:
        requests: What came, in order: the path, the key, and the fields of the body.
        headers: The headers of each, by their names in small letters.
        connections: How many were made; keeps_open: whether one is good for further requests.
        answer: Called with each prompt, from many threads; returns the `Answer`.
        asked: Set when a request has come.
    """

    daemon_threads = False  # so that closing it waits for them
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self.keeps_open = False
        self.answer: Callable[[str], Answer] = lambda prompt: completion()
        self.asked = threading.Event()
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def says(self, *answers: Answer) -> None:
        """Answer one request after the other with these, and all further ones with the last."""
        left = list(answers)
        lock = threading.Lock()

        def answer(prompt: str) -> Answer:
            with lock:
                return left.pop(0) if len(left) > 1 else left[0]

        self.answer = answer

    @property
    def prompts(self) -> list[str]:
        return [request["messages"][0]["content"] for request in self.requests]

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # the caller has gone, as it may
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def setup(self) -> None:
        super().setup()
        self.protocol_version = "HTTP/1.1" if self.server.keeps_open else "HTTP/1.0"

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def do_GET(self) -> None:
        """What a redirect makes of a request, if it is no 307 or 308."""
        self._answer({})

    def _answer(self, body: dict[str, Any]) -> None:
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        self.server.requests.append({"path": self.path, "key": key, **body})
        answer = self.server.answer(body["messages"][0]["content"] if body else "")
        self.server.asked.set()
        if answer.held:
            self.server.closing.wait()
            self.close_connection = True
            return
        if answer.raw:
            self.wfile.write(answer.raw)
            return
        self.send_response_only(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body) + answer.missing))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)
        self.close_connection |= bool(answer.missing)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Endpoint]:
    """An endpoint that is up. At the end it is closed, and so is everything that still waited for it."""
    endpoint = Endpoint()
    thread = threading.Thread(target=endpoint.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.closing.set()
        endpoint.shutdown()
        thread.join()
        endpoint.server_close()
        for call in threading.enumerate():  # those that were left to end by themselves can do so now
            if call.name.startswith("llmflow_nb-call"):
                call.join(PATIENCE)


def unused_url() -> str:
    """Where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
