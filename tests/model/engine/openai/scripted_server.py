"""A server on 127.0.0.1 that answers what a test tells it to."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from qwen_allinone.model import Choice

Body = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; a list is sent piece by piece, and what is raised in between breaks the connection."""

    body: object = None
    status: int = 200
    kind: str = "application/json"

    @property
    def pieces(self) -> Iterable[bytes]:
        """What goes over the wire."""
        if isinstance(self.body, bytes):
            return [self.body]
        if self.kind == "text/event-stream":
            return (f"data: {each if isinstance(each, str) else json.dumps(each)}\n\n".encode() for each in self.body)
        return [json.dumps(self.body).encode()]


@dataclass
class Scripted:
    """What was asked, and what is answered: per path, a function of the request's body."""

    answers: dict[str, Callable[[Body], Answer]]
    url: str = ""
    asked: list[tuple[str, Body]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    headers: list[dict[str, str]] = field(default_factory=list)
    broken_off: int = 0
    """How many answers nobody read to their end."""


def models(*names: str, **more: object) -> Callable[[Body], Answer]:
    """The list of models, each with the same further fields."""
    return lambda _: Answer({"object": "list", "data": [{"id": name, **more} for name in names]})


def chunk(text: str | None = None, finish: str | None = None, **more: object) -> Body:
    """A piece of a streamed reply."""
    return {
        "id": "1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}],
        **more,
    }


def reply(*texts: str, finish: str | None = "stop") -> Callable[[Body], Answer]:
    """A streamed reply."""
    return lambda _: Answer([*map(chunk, texts), chunk(finish=finish), "[DONE]"], kind="text/event-stream")


def first_words(**logprobs: float) -> Callable[[Body], Answer]:
    """The likeliest first words of a reply."""
    told = [{"token": token, "logprob": value} for token, value in logprobs.items()]
    return lambda _: Answer({"choices": [{"logprobs": {"content": [{"token": "x", "top_logprobs": told}]}}]})


@contextmanager
def scripted_server(**answers: Callable[[Body], Answer]) -> Iterator[Scripted]:
    """Serve ``models``, ``systemone`` and ``chat``; a path without an answer is 404."""
    paths = {"models": "/v1/models", "systemone": "/v1/systemone", "chat": "/v1/chat/completions"}
    script = Scripted({paths[name]: answer for name, answer in answers.items()})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
            script.asked.append((self.path, body))
            script.headers.append(dict(self.headers))
            script.keys.add(self.headers.get("authorization"))
            answer = script.answers.get(self.path, lambda _: Answer({"detail": "Not Found"}, 404))(body)
            try:
                self.send_response(answer.status)
                self.send_header("content-type", answer.kind)
                self.end_headers()
                for piece in answer.pieces:
                    self.wfile.write(piece)
            except OSError:
                script.broken_off += 1

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        script.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield script
        finally:
            server.shutdown()
            thread.join()


MOOD = Choice(instructions="What is the mood?", criteria={"positive": None, "negative": None})
HTML = Answer(b"<html>It works!</html>", kind="text/html")


def decided(**probabilities: float) -> Callable[[Body], Answer]:
    """An answer with these probabilities."""
    return lambda _: Answer({"answers": {"0": {"type": "choice", "probabilities": probabilities}}})


def always(answer: Answer) -> Callable[[Body], Answer]:
    """The same answer to everything."""
    return lambda _: answer
