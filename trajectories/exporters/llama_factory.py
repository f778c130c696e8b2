"""ShareGPT rows, and LLaMA-Factory's folder of rows with `dataset_info.json`.

ShareGPT says `from` and `value`, and LLaMA-Factory accepts a row only where `human` or `observation` and
`gpt` or `function_call` take turns, beginning with the former and ending with the latter (checked against
`llamafactory/data/converter.py`, release 0.9.5). So messages of one side in a row are merged, with a blank
line between; the system message is a column. A `function_call` has no place for text beside the calls:
rows with both are left out.
"""

import json
from collections.abc import Iterator, Mapping, Sequence

from codojo.trajectories.exporters.formats import Column, Format, JsonObject, NotExpressible
from codojo.trajectories.exporters.messages import arguments, tools_text
from codojo.trajectories.rows import Preference, PromptCompletion, Tools, Unpaired
from codojo.trajectories.schema import Message

_ASKING = ("human", "observation")


def sharegpt(row: PromptCompletion) -> Iterator[JsonObject]:
    """The conversation of one model call."""
    turns = _turns((*row.prompt, *row.completion))
    _check(turns, ends_with_answer=True)
    yield {"conversations": turns, **_around(row.prompt, row.tools)}


def ranking(row: Preference) -> Iterator[JsonObject]:
    """A conversation up to the answer, and a better and a worse one."""
    turns = _turns(row.prompt)
    _check(turns, ends_with_answer=False)
    (chosen,), (rejected,) = _turns(row.chosen), _turns(row.rejected)
    record: JsonObject = {"conversations": turns, "chosen": chosen, "rejected": rejected}
    yield record | _around(row.prompt, row.tools)


def kto(row: Unpaired) -> Iterator[JsonObject]:
    """A conversation and whether its last answer is a good one."""
    turns = _turns((*row.prompt, *row.completion))
    _check(turns, ends_with_answer=True)
    yield {"conversations": turns, "kto_tag": row.label, **_around(row.prompt, row.tools)}


def _turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    """The turns without the system message; what one side said in a row is one turn."""
    turns: list[dict[str, str]] = []
    for message in messages:
        if message.role == "system":
            continue
        name, value = _turn(message)
        if turns and turns[-1]["from"] == name and name != "function_call":
            turns[-1]["value"] += f"\n\n{value}"
        else:
            turns.append({"from": name, "value": value})
    return turns


def _turn(message: Message) -> tuple[str, str]:
    if message.role == "user":
        return "human", message.content
    if message.role == "tool":
        return "observation", message.content
    if not message.tool_calls:
        return "gpt", message.content
    if message.content.strip():
        raise NotExpressible("text_beside_tool_call")
    made = [{"name": c.name, "arguments": arguments(c)} for c in message.tool_calls]
    return "function_call", json.dumps(made if len(made) > 1 else made[0], ensure_ascii=False)


def _check(turns: list[dict[str, str]], *, ends_with_answer: bool) -> None:
    asking = [turn["from"] in _ASKING for turn in turns]
    wanted = [i % 2 == 0 for i in range(len(turns))]
    if asking != wanted or not turns or asking[-1] is ends_with_answer:
        raise NotExpressible("turns_do_not_alternate")


def _around(prompt: Sequence[Message], tools: Tools) -> JsonObject:
    """Both columns are always there, because LLaMA-Factory reads them by name."""
    system = "\n\n".join(m.content for m in prompt if m.role == "system")
    described = [tool.get("function", tool) for tool in tools]
    return {"system": system, "tools": tools_text(tuple(described)) if tools else ""}  # type: ignore[arg-type]  # a tool's function is an object


def _entries(kind: str) -> Mapping[str, object]:
    columns = {"messages": "conversations", "system": "system", "tools": "tools"}
    if kind == "dpo":
        return {"ranking": True, "columns": columns | {"chosen": "chosen", "rejected": "rejected"}}
    if kind == "kto":
        return {"columns": columns | {"kto_tag": "kto_tag"}}
    return {"columns": columns}


def _dataset_info(kind: str, files: Mapping[str, str]) -> Mapping[str, str]:
    entries = {
        f"codojo_{kind}" if part == "train" else f"codojo_{kind}_{part}": {
            "file_name": name,
            "formatting": "sharegpt",
            **_entries(kind),
        }
        for part, name in files.items()
    }
    return {"dataset_info.json": json.dumps(entries, indent=2) + "\n"}


_AROUND: dict[str, Column] = {"system": "text", "tools": "text"}
_TURN: Column = {"from": "text", "value": "text"}
_TURNS: dict[str, Column] = {"conversations": (_TURN,), **_AROUND}

FORMATS = (
    Format(
        name="sharegpt",
        about="ShareGPT conversations, one for each model call.",
        takes=PromptCompletion,
        records=sharegpt,
        columns=_TURNS,
    ),
    Format(
        name="llama-factory",
        about="LLaMA-Factory SFT: a folder with ShareGPT rows and dataset_info.json.",
        takes=PromptCompletion,
        records=sharegpt,
        columns=_TURNS,
        beside=lambda files: _dataset_info("sft", files),
    ),
    Format(
        name="llama-factory-dpo",
        about="LLaMA-Factory DPO: ranking rows and dataset_info.json.",
        takes=Preference,
        records=ranking,
        columns={**_TURNS, "chosen": _TURN, "rejected": _TURN},
        beside=lambda files: _dataset_info("dpo", files),
    ),
    Format(
        name="llama-factory-kto",
        about="LLaMA-Factory KTO: rows with kto_tag and dataset_info.json.",
        takes=Unpaired,
        records=kto,
        columns={**_TURNS, "kto_tag": "bool"},
        beside=lambda files: _dataset_info("kto", files),
    ),
)
