"""How an item of a `BaseStore` becomes a Chroma record and back, and a filter a Chroma condition.

An item's JSON is the document; its one vector is made of the texts it is searched by; its metadata are
what queries filter by. `p1`, `p2`, ... are its namespace and the namespaces above it, so that a query
names what it may see and Chroma returns nothing else. `/entry/task_id` and the like (JSON pointers) are
the scalars of the value.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from langgraph.store.base import Item, MatchCondition, PutOp, SearchItem, get_text_at_path

from codojo.canonical import canonical_json, content_hash
from codojo.memory.schema import clean

SCHEMA = 1
"""Version of this mapping; an index of another version is refused."""
MAX_ITEM_CHARS = 262_144
"""JSON of one item; larger ones are refused."""
MAX_ATOM_CHARS = 256
"""Longer strings are filtered by their hash."""

Atom = str | int | float | bool
Where = dict[str, Any]

_OPERATORS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte")


@dataclass(frozen=True, slots=True)
class ItemRecord:
    """An item as Chroma gets it, without its times and its vector."""

    id: str
    document: str
    metadata: dict[str, Atom]
    text: str
    """What it is searched by; empty: by nothing."""


def record_of(op: PutOp) -> ItemRecord:
    """The record of an item, with its strings cleaned.

    Raises:
        ValueError: For an empty or unprintable name, or a value that is too large or no plain JSON.
    """
    if not op.namespace:
        raise ValueError(f"cannot store '{op.key}' without a namespace; give it at least one label")
    for name in (*op.namespace, op.key):
        if not name or clean(name, MAX_ATOM_CHARS) != name:
            raise ValueError(
                f"cannot store under {name!r}; use 1 to {MAX_ATOM_CHARS} characters of plain text"
            )
    value = cleaned(op.value)
    document = canonical_json(value).decode()
    if len(document) > MAX_ITEM_CHARS:
        raise ValueError(
            f"item '{op.key}' is {len(document)} characters of JSON, at most {MAX_ITEM_CHARS} "
            "are kept; store a part of it, or where the whole can be found"
        )
    paths = [] if op.index is False else ["$"] if op.index is None else op.index
    texts = [text for path in paths for text in get_text_at_path(value, path)]
    text = "\n".join(texts).strip()
    prefixes = {f"p{n}": ".".join(op.namespace[:n]) for n in range(1, len(op.namespace) + 1)}
    return ItemRecord(
        id=record_id(op.namespace, op.key),
        document=document,
        metadata={
            **dict(_atoms(value)),
            **prefixes,
            "ns": ".".join(op.namespace),
            "key": op.key,
            "vector": bool(text),
        },
        text=text,
    )


def record_id(namespace: tuple[str, ...], key: str) -> str:
    """Chroma's id of an item; another for the same key in another namespace."""
    return content_hash([*namespace, key])


def cleaned(value: Any) -> Any:
    """JSON data with every string in it cleaned."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {clean(str(name)): cleaned(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [cleaned(inner) for inner in value]
    return value


def _fields(document: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "namespace": tuple(metadata["ns"].split(".")),
        "key": metadata["key"],
        "value": json.loads(document),
        "created_at": datetime.fromisoformat(metadata["created"]),
        "updated_at": datetime.fromisoformat(metadata["updated"]),
    }


def item_of(document: str, metadata: Mapping[str, Any]) -> Item:
    """The item of a record."""
    return Item(**_fields(document, metadata))


def found_item(
    document: str, metadata: Mapping[str, Any], score: float | None = None
) -> SearchItem:
    """The item of a record that a search found."""
    return SearchItem(**_fields(document, metadata), score=score)


def matches(space: tuple[str, ...], condition: MatchCondition) -> bool:
    """Whether a namespace begins or ends with a path, in which `*` is any one label."""
    path = condition.path
    if len(space) < len(path):
        return False
    part = space[: len(path)] if condition.match_type == "prefix" else space[-len(path) :]
    return all(wanted in ("*", label) for wanted, label in zip(path, part, strict=True))


def where_of(
    prefix: tuple[str, ...], filter: Mapping[str, Any] | None, extra: Where | None = None
) -> Where | None:
    """Namespace and filter as one Chroma condition; None where everything matches.

    >>> where_of(("a", "b"), {"n": {"$gt": 1}})
    {'$and': [{'p2': 'a.b'}, {'/n': {'$gt': 1}}]}
    """
    conditions: list[Where] = [{f"p{len(prefix)}": ".".join(prefix)}] if prefix else []
    conditions += [extra] if extra else []
    conditions += _conditions(filter or {}, "")
    if not conditions:
        return None
    return conditions[0] if len(conditions) == 1 else {"$and": conditions}


def _conditions(filter: Mapping[str, Any], at: str) -> Iterator[Where]:
    for name, expected in filter.items():
        pointer = f"{at}/{_escaped(name)}"
        if not isinstance(expected, Mapping):
            yield {pointer: _atom(expected)}
        elif any(key.startswith("$") for key in expected):
            for operator, operand in expected.items():
                if operator not in _OPERATORS:
                    raise ValueError(
                        f"unknown operator '{operator}' in a filter; use one of {_OPERATORS}"
                    )
                yield {pointer: {operator: _atom(operand)}}
        else:
            yield from _conditions(expected, pointer)


def _atom(value: object) -> Atom:
    """A scalar as metadata hold it."""
    if isinstance(value, str):
        text = clean(value)
        return text if len(text) <= MAX_ATOM_CHARS else content_hash(text)
    if isinstance(value, int) and abs(value) >= 2**63:
        return content_hash(value)
    if isinstance(value, (int, float)):
        return value
    raise ValueError(f"cannot filter by {value!r}; use a string, a number or true or false")


def _atoms(value: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Atom]]:
    """The scalars of a value with their pointers; lists and nulls cannot be filtered by."""
    for name, inner in value.items():
        pointer = f"{at}/{_escaped(name)}"
        if isinstance(inner, Mapping):
            yield from _atoms(inner, pointer)
        elif isinstance(inner, (str, int, float)):
            yield pointer, _atom(inner)


def _escaped(name: str) -> str:
    return clean(str(name)).replace("~", "~0").replace("/", "~1")
