"""Conversations of the OpenHands SDK: a folder of event files, or their list in one file.

Events are turned into messages the way the SDK does it: actions of one response are one answer, an
observation answers the call whose `tool_call_id` it names, a condensation takes forgotten events out of
the prompt and puts its summary in, and where the tree of events branches, a prompt holds its own branch. What
tools add to an observation when they render it for the model is not in the events, so prompts are near
to what the model saw, not exact.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from codojo.errors import ImportRefused
from codojo.trajectories.importers.conversation import Answer, Call, Conversation, Thread
from codojo.trajectories.importers.fields import (
    JsonObject,
    arguments_text,
    content_of,
    ids_of,
    message_of,
    object_of,
    objects_of,
    text_of,
    time_of,
)
from codojo.trajectories.rows import Tools
from codojo.trajectories.schema import Choice, Message, ToolCall

NAME = "openhands"
ROOT = "__root__"
"""Parent of an event that begins a new branch at the root."""
MAX_WALKED = 2_000_000
"""Events that are gone through again because the branch changed."""


def recognise(value: Any) -> bool:
    """Whether it is a list of events that name their kind, or a folder of them."""
    events = value.get("events") if isinstance(value, dict) else value
    return (
        isinstance(events, list)
        and bool(events)
        and all(isinstance(e, dict) and "kind" in e and "source" in e for e in events[:3])
    )


def read(value: Any) -> Conversation:
    """The conversation.

    Raises:
        ImportRefused: If an event is not as the format says.
    """
    record = value if isinstance(value, dict) else {"events": value}
    events = objects_of(record, "events")
    state = object_of(record, "base_state")
    agent = object_of(state, "agent")
    teller = _Teller(text_of(object_of(agent, "llm"), "model"))
    for number, event in enumerate(events):
        try:
            teller.take(event)
        except ImportRefused as err:
            raise ImportRefused(f"event {number}: {err}") from None
    thread = teller.thread()
    return Conversation(
        format=NAME,
        threads=(thread,),
        task_id=str(state.get("id") or ""),
        agent=text_of(agent, "kind") or "OpenHands",
        claims={name: state[name] for name in ("execution_status", "stats") if state.get(name)},
    )


@dataclass
class _Line:
    """One thing in a prompt: a message and the events it came from."""

    events: list[str]
    message: Message
    call: int | None = None
    """Of an answer: which call it was."""


@dataclass
class _Teller:
    """Takes events in order and keeps the prompt of the branch that it stands on."""

    model: str
    calls: list[Call] = field(default_factory=list)
    tools: Tools = ()
    _lines: list[_Line] = field(default_factory=list)
    _batch: list[JsonObject] = field(default_factory=list)
    _parents: dict[str, str] = field(default_factory=dict)
    _events: dict[str, JsonObject] = field(default_factory=dict)
    _answered: dict[str, int] = field(default_factory=dict)
    """Calls by the first event of the answer."""
    _last: str = ROOT
    _condensed: bool = False
    """Whether the prompt was cut since the last answer, which it then does not go on from."""
    _walked: int = 0

    def take(self, event: JsonObject) -> None:
        """The next event of the file."""
        id = text_of(event, "id") or f"event {len(self._events)}"
        if id in self._events:
            raise ImportRefused(f"two events have the id {id[:40]!r}")
        parent = text_of(event, "parent_id") or self._last
        if parent != self._last:
            self._flush()
            self._stand_at(parent)
        self._events[id] = event
        self._parents[id] = parent
        self._last = id
        self._apply(id, event)

    def thread(self) -> Thread:
        """All that was said."""
        self._flush()
        rest: list[Message] = []
        for line in reversed(self._lines):
            if line.call is not None:
                break
            rest.append(line.message)
        return Thread("agent", tuple(self.calls), tuple(reversed(rest)), tools=self.tools)

    def _stand_at(self, parent: str) -> None:
        """Rebuild the prompt as it was after another event than the last one."""
        if parent != ROOT and parent not in self._events:
            raise ImportRefused(f"'parent_id' is {parent[:40]!r}, which no earlier event has")
        path = []
        at = parent
        while at != ROOT:
            path.append(at)
            at = self._parents[at]
        self._walked += len(path)
        if self._walked > MAX_WALKED:
            raise ImportRefused("it changes its branch too often to be followed")
        self._lines.clear()
        self._condensed = False
        for id in reversed(path):
            self._apply(id, self._events[id])
        self._flush()

    def _apply(self, id: str, event: JsonObject) -> None:
        kind = text_of(event, "kind")
        if kind == "ActionEvent":
            first = self._batch[0] if self._batch else event
            if text_of(first, "llm_response_id") != text_of(event, "llm_response_id"):
                self._flush()
            self._batch.append(event | {"id": id})
            return
        if kind == "TokenEvent":
            self._keep_tokens(event)
            return
        self._flush()
        if kind == "MessageEvent":
            self._message(id, event)
        elif kind == "SystemPromptEvent":
            self._system(id, event)
        elif kind == "Condensation":
            self._condense(event)
        elif (observed := _observed(event, kind)) is not None:
            self._lines.append(_Line([id], observed))

    def _message(self, id: str, event: JsonObject) -> None:
        message = message_of(object_of(event, "llm_message"))
        more = "".join(content_of({"content": [part]}) for part in _parts(event))
        message = message.model_copy(update={"content": message.content + more})
        if message.role == "assistant":
            self._answer([id], message, event)
        else:
            self._lines.append(_Line([id], message))

    def _system(self, id: str, event: JsonObject) -> None:
        text = text_of(object_of(event, "system_prompt"), "text")
        text += text_of(object_of(event, "dynamic_context"), "text")
        self._lines.append(_Line([id], Message(role="system", content=text)))
        self.tools = tuple(_tool(tool) for tool in objects_of(event, "tools"))

    def _flush(self) -> None:
        """The actions of one response are one answer."""
        batch, self._batch = self._batch, []
        if not batch:
            return
        first = batch[0]
        message = Message(
            role="assistant",
            content=content_of(first, "thought"),
            tool_calls=tuple(_call(action) for action in batch),
            reasoning_content=text_of(first, "reasoning_content"),
        )
        self._answer([text_of(action, "id") for action in batch], message, first)

    def _answer(self, ids: list[str], message: Message, event: JsonObject) -> None:
        number = self._answered.get(ids[0])
        if number is None:
            parent = next((x.call for x in reversed(self._lines) if x.call is not None), None)
            if self._condensed:
                parent = None
            new = []
            for line in reversed(self._lines):
                if parent is not None and line.call == parent:
                    break
                new.append(line.message)
            choice = Choice(
                text=message.content,
                tool_calls=message.tool_calls,
                reasoning_content=message.reasoning_content,
            )
            answer = Answer(choice, model=self.model, at=time_of(event, "timestamp"))
            number = len(self.calls)
            self.calls.append(Call(parent, tuple(reversed(new)), answer))
            self._answered[ids[0]] = number
        self._condensed = False
        self._lines.append(_Line(ids, message, number))

    def _condense(self, event: JsonObject) -> None:
        forgotten = event.get("forgotten_event_ids") or []
        if not isinstance(forgotten, list):
            raise ImportRefused("'forgotten_event_ids' is no list")
        gone = {id for id in forgotten if isinstance(id, str)}
        self._lines = [x for x in self._lines if not gone.intersection(x.events)]
        summary, offset = event.get("summary"), event.get("summary_offset")
        if isinstance(summary, str) and isinstance(offset, int) and offset >= 0:
            line = _Line([], Message(role="user", content=summary))
            self._lines.insert(min(offset, len(self._lines)), line)
        self._condensed = True

    def _keep_tokens(self, event: JsonObject) -> None:
        """The tokens of the answer just before."""
        self._flush()
        if not self._lines or (number := self._lines[-1].call) is None:
            return
        call = self.calls[number]
        ids = ids_of(event, "response_token_ids")
        choice = call.answer.choice.model_copy(update={"token_ids": ids})
        prompt = ids_of(event, "prompt_token_ids")
        answer = Answer(
            choice,
            call.answer.model,
            len(prompt or ()),
            len(ids or ()),
            prompt,
            call.answer.at,
        )
        self.calls[number] = Call(call.parent, call.messages, answer)


def _call(action: JsonObject) -> ToolCall:
    call = object_of(action, "tool_call")
    return ToolCall(
        id=text_of(action, "tool_call_id") or text_of(call, "id"),
        name=text_of(action, "tool_name") or text_of(call, "name"),
        arguments=arguments_text(call.get("arguments")),
    )


def _observed(event: JsonObject, kind: str) -> Message | None:
    """What a tool answered; None for events that no model sees."""
    if kind == "ObservationEvent":
        observation = object_of(event, "observation")
        content = content_of(observation)
        if observation.get("is_error"):
            content = f"[An error occurred during execution.]\n{content}"
        content += "".join(content_of({"content": [part]}) for part in _parts(event))
    elif kind == "AgentErrorEvent":
        content = text_of(event, "error")
    elif kind == "UserRejectObservation":
        content = f"Action rejected: {text_of(event, 'rejection_reason')}"
    else:
        return None
    return Message(
        role="tool",
        content=content,
        tool_call_id=text_of(event, "tool_call_id") or None,
        name=text_of(event, "tool_name") or None,
    )


def _parts(event: JsonObject) -> Iterator[JsonObject]:
    yield from objects_of(event, "extended_content")


def _tool(tool: JsonObject) -> JsonObject:
    """A tool as OpenAI describes it; the SDK stores class names, of which only title and description are plain."""
    name = text_of(tool, "name") or text_of(tool, "title") or text_of(tool, "kind")
    function = {"name": name, "description": text_of(tool, "description")}
    return {"type": "function", "function": function}
