"""A streamed answer, put together as the server would have sent it in one piece.

Token ids and log-probabilities come in pieces too (vLLM: `prompt_token_ids` in the first piece,
`token_ids` of each choice in every one), so what is logged is the same with and without a stream.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

OnText = Callable[[int, str], None]
"""Gets the number of a choice and the next piece of its text."""


async def collect(pieces: AsyncIterator[dict[str, Any]], on_text: OnText) -> dict[str, Any]:
    """The whole answer of a streaming chat request.

    Raises:
        ValueError: If the stream ended before every choice did.
    """
    whole: dict[str, Any] = {"choices": [], "usage": None}
    choices: dict[int, dict[str, Any]] = {}
    async for piece in pieces:
        for name in ("id", "object", "created", "model", "prompt_token_ids", "error"):
            if piece.get(name) is not None:
                whole.setdefault(name, piece[name])
        whole["usage"] = piece.get("usage") or whole["usage"]
        for part in piece.get("choices") or ():
            choice = choices.setdefault(part.get("index", 0), _empty(part.get("index", 0)))
            if text := _add(choice, part):
                on_text(choice["index"], text)
    whole["choices"] = [choices[index] for index in sorted(choices)]
    if not choices or any(choice["finish_reason"] is None for choice in choices.values()):
        raise ValueError("the stream ended in the middle of an answer")
    return whole


def _empty(index: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    return {"index": index, "message": message, "finish_reason": None}


def _add(choice: dict[str, Any], part: dict[str, Any]) -> str:
    """Put a piece of a choice where it belongs; returns its text."""
    delta = part.get("delta") or {}
    text = delta.get("content") or ""
    choice["message"]["content"] += text
    for call in delta.get("tool_calls") or ():
        _add_call(choice["message"].setdefault("tool_calls", []), call)
    if part.get("finish_reason") is not None:
        choice["finish_reason"] = part["finish_reason"]
    if (ids := part.get("token_ids")) is not None:
        choice.setdefault("token_ids", []).extend(ids)
    if scored := (part.get("logprobs") or {}).get("content"):
        choice.setdefault("logprobs", {"content": []})["content"].extend(scored)
    return str(text)


def _add_call(calls: list[dict[str, Any]], part: dict[str, Any]) -> None:
    """A tool call: its name comes first, then its arguments bit by bit."""
    index = part.get("index", 0)
    while len(calls) <= index:
        calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
    call, told = calls[index], part.get("function") or {}
    call["id"] = part.get("id") or call["id"]
    call["function"]["name"] += told.get("name") or ""
    call["function"]["arguments"] += told.get("arguments") or ""
