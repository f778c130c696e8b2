"""The process of the scripted engine: a script behind the OpenAI API, with faults on order.

`python -m codojo.serving.scripted_server SCRIPT.json --port 0` prints its port as its first line.
It speaks chat and text completions, models, adapters, tokens, health and `/metrics` (JSON counts).
"""

import argparse
import json
import os
import sys
import threading
import time
from collections import Counter
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from codojo.serving.scripted import (
    Asked,
    Effect,
    Fault,
    Script,
    read_effect,
    read_script,
    reply_to,
    score,
    token_id,
    tokens_of,
)

KEY_VARIABLE = "CODOJO_SCRIPTED_KEY"
HANG_S = 3600


class Refused(Exception):
    """An answer with an error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Hub:
    """What the threads of the server share."""

    def __init__(self, script: Script, key: str) -> None:
        self.script = script
        self.key = key
        self.adapters: dict[str, tuple[str, Effect]] = {}
        self.requests: Counter[str] = Counter()
        self.chats = 0
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def count(self, path: str) -> None:
        """One request more for `/metrics`."""
        with self._lock:
            self.requests[path] += 1

    def next_fault(self) -> Fault | None:
        """The fault that strikes this chat request, if any."""
        with self._lock:
            self.chats += 1
            number = self.chats
        return next((f for f in self.script.faults if number in f.requests), None)

    def asked_before(self, body: dict[str, Any]) -> int:
        """How often the same was asked; greedy decoding always says the same."""
        if body.get("temperature") == 0:
            return 0
        key = json.dumps([body["model"], body["messages"]], sort_keys=True)
        with self._lock:
            self._asked[key] += 1
            return self._asked[key] - 1

    def effect(self, model: str) -> Effect | None:
        """What a model changes; None for the base.

        Raises:
            Refused: If there is no such model.
        """
        if model == self.script.model:
            return None
        if model not in self.adapters:
            raise Refused(404, f"The model `{model}` does not exist.")
        return self.adapters[model][1]


def chat(hub: Hub, body: dict[str, Any]) -> dict[str, Any]:
    """The answer to a chat request."""
    script, model, messages = hub.script, body["model"], body["messages"]
    effect = hub.effect(model)
    prompt = [t for m in messages for t in tokens_of(str(m.get("content") or ""))]
    limit = body.get("max_tokens") or body.get("max_completion_tokens") or 256
    if len(prompt) + limit > script.max_model_len:
        raise Refused(
            400,
            f"This model's maximum context length is {script.max_model_len} tokens; the prompt has "
            f"{len(prompt)} and {limit} were asked for.",
        )
    ask = hub.asked_before(body)
    stop = body.get("stop") or []
    choices = []
    for index in range(body.get("n") or 1):
        reply = reply_to(Asked(model, messages, index, ask), script, effect)
        if reply is None:
            raise Refused(400, "no rule of the script matches this request")
        text, reason = _cut(reply, [stop] if isinstance(stop, str) else stop, limit)
        tokens = tokens_of(text)
        choice: dict[str, Any] = {
            "index": index,
            "message": {"role": "assistant", "content": text},
            "finish_reason": reason,
        }
        if body.get("logprobs"):
            scored = [
                {"token": t, "logprob": score(model, tokens, i), "top_logprobs": []}
                for i, t in enumerate(tokens)
            ]
            choice["logprobs"] = {"content": scored}
        if body.get("return_token_ids"):
            choice["token_ids"] = [token_id(t) for t in tokens]
        choices.append(choice)
    wrote = sum(len(tokens_of(choice["message"]["content"])) for choice in choices)
    answer = _answer("chat.completion", model, choices, len(prompt), wrote)
    if body.get("return_token_ids"):
        answer["prompt_token_ids"] = [token_id(t) for t in prompt]
    return answer


def completion(hub: Hub, body: dict[str, Any]) -> dict[str, Any]:
    """The answer to a text completion: the scores of its prompt, and one token."""
    model, prompt = body["model"], body["prompt"]
    effect = hub.effect(model)
    tokens = tokens_of(prompt) if isinstance(prompt, str) else [str(number) for number in prompt]
    choice: dict[str, Any] = {"index": 0, "text": " .", "finish_reason": "length"}
    if body.get("prompt_logprobs") is not None:
        scorer = model if effect and effect.changes_scores else hub.script.model
        scored: list[Any] = [None]
        for position, token in enumerate(tokens[1:], start=1):
            logprob = score(scorer, tokens, position)
            scored.append({str(token_id(token)): {"logprob": logprob, "decoded_token": token}})
        choice["prompt_logprobs"] = scored
    return _answer("text_completion", model, [choice], len(tokens), 1)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: standard output carries the port."""

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            self._answer(json.loads(body))
        except ValueError:
            self._send(400, {"error": {"message": "the body is no JSON"}})

    def _answer(self, body: Any) -> None:
        self.hub.count(self.path)
        try:
            self._check_key()
            if self.path == "/v1/chat/completions":
                self._chat(body)
            else:
                self._send(200, self._route(body))
        except Refused as err:
            self._send(err.status, {"error": {"message": str(err), "code": err.status}})
        except (KeyError, TypeError) as err:
            self._send(400, {"error": {"message": f"missing or of the wrong type: {err}"}})

    def _check_key(self) -> None:
        guarded = self.hub.key and self.path.startswith("/v1/")
        if guarded and self.headers.get("authorization") != f"Bearer {self.hub.key}":
            raise Refused(401, "Unauthorized")

    def _route(self, body: Any) -> Any:
        hub = self.hub
        match self.path:
            case "/health":
                return {"status": "ok"}
            case "/version":
                return {"scripted": 1}
            case "/metrics":
                return {"requests": hub.requests, "chats": hub.chats}
            case "/v1/models":
                base = {"id": hub.script.model, "root": hub.script.model, "parent": None}
                adapters = [
                    {"id": name, "root": path, "parent": hub.script.model}
                    for name, (path, _) in hub.adapters.items()
                ]
                return {"object": "list", "data": [base, *adapters]}
            case "/v1/completions":
                return completion(hub, body)
            case "/tokenize":
                return {"tokens": [token_id(t) for t in tokens_of(body["prompt"])]}
            case "/v1/load_lora_adapter":
                name, path = body["lora_name"], body["lora_path"]
                if not Path(path).is_dir():
                    raise Refused(404, f"Loading lora {name} failed: No adapter found for {path}")
                if name in hub.adapters:
                    raise Refused(400, f"The lora adapter '{name}' has already been loaded.")
                hub.adapters[name] = (path, read_effect(Path(path)))
                return "loaded"
            case "/v1/unload_lora_adapter":
                if hub.adapters.pop(body["lora_name"], None) is None:
                    raise Refused(404, f"The lora adapter '{body['lora_name']}' cannot be found.")
                return "unloaded"
        raise Refused(404, f"Not Found: {self.path}")

    def _chat(self, body: Any) -> None:
        time.sleep(self.hub.script.latency_ms / 1000)
        fault = self.hub.next_fault()
        kind = fault.kind if fault else ""
        if fault and kind == "status":
            headers = {} if fault.retry_after_s is None else {"Retry-After": fault.retry_after_s}
            said = fault.message.replace("{authorization}", self.headers.get("authorization", ""))
            self._send(fault.status, {"error": {"message": said}}, headers)
            return
        if kind == "die":
            os._exit(1)
        if kind == "hang":
            time.sleep(HANG_S)
        answer = chat(self.hub, body)
        if kind == "wrong_model":
            answer["model"] = "another-model"
        if body.get("stream"):
            self._stream(answer, cut=kind == "cut")
            return
        payload = json.dumps(answer).encode()
        if kind == "malformed":
            payload = b"<html>" + payload
        self._send_bytes(200, payload, sent=payload[:-10] if kind == "cut" else payload)

    def _stream(self, answer: dict[str, Any], *, cut: bool) -> None:
        """Server-sent events, a token each; the connection's end is the stream's."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        chunk = {key: answer[key] for key in ("id", "model", "created")}
        chunk["object"] = "chat.completion.chunk"
        pieces = [piece for choice in answer["choices"] for piece in _pieces(choice)]
        pieces.sort(key=lambda piece: piece[0])
        for _, piece in pieces[: len(pieces) // 2] if cut else pieces:
            time.sleep(self.hub.script.token_ms / 1000)
            self._event(chunk | {"choices": [piece]} | _prompt_ids(answer))
            answer.pop("prompt_token_ids", None)
        if not cut:
            self._event(chunk | {"choices": [], "usage": answer["usage"]})
            self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, data: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(data).encode() + b"\n\n")

    def _send(self, status: int, data: Any, headers: dict[str, Any] | None = None) -> None:
        payload = json.dumps(data).encode()
        self._send_bytes(status, payload, sent=payload, headers=headers)

    def _send_bytes(
        self, status: int, payload: bytes, *, sent: bytes, headers: dict[str, Any] | None = None
    ) -> None:
        self.send_response_only(HTTPStatus(status))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        for name, value in (headers or {}).items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(sent)
        self.close_connection = self.close_connection or len(sent) < len(payload)


class Server(ThreadingHTTPServer):
    """Takes as many connections as a team opens at once."""

    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no event."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _pieces(choice: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """A choice as a stream sends it, a token each; the number says when."""
    index, pieces = choice["index"], []
    for number, token in enumerate(tokens_of(choice["message"]["content"])):
        delta = {"role": "assistant", "content": token}
        piece: dict[str, Any] = {"index": index, "delta": delta}
        if "logprobs" in choice:
            piece["logprobs"] = {"content": [choice["logprobs"]["content"][number]]}
        if "token_ids" in choice:
            piece["token_ids"] = [choice["token_ids"][number]]
        pieces.append((number, piece))
    last = {"index": index, "delta": {}, "finish_reason": choice["finish_reason"]}
    return [*pieces, (len(pieces), last)]


def _prompt_ids(answer: dict[str, Any]) -> dict[str, Any]:
    """The prompt's tokens, which only the first piece of a stream has."""
    ids = answer.get("prompt_token_ids")
    return {} if ids is None else {"prompt_token_ids": ids}


def _cut(text: str, stops: list[str], limit: int) -> tuple[str, str]:
    ends = [end for stop in stops if (end := text.find(stop)) >= 0]
    text = text[: min(ends)] if ends else text
    tokens = tokens_of(text)
    if len(tokens) > limit:
        return "".join(tokens[:limit]), "length"
    return text, "stop"


def _answer(kind: str, model: str, choices: list[Any], read: int, wrote: int) -> dict[str, Any]:
    return {
        "id": "scripted",
        "object": kind,
        "created": 0,
        "model": model,
        "choices": choices,
        "usage": {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote},
    }


def main() -> None:
    """Entry of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("script", type=Path)
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args()
    Handler.hub = Hub(read_script(args.script), os.environ.get(KEY_VARIABLE, ""))
    server = Server(("127.0.0.1", args.port), Handler)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
