"""Redaction: no disguise of a secret stays, and nothing else is touched."""

import base64
import gzip
import json
import os
import random
import re
import string
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from codojo.errors import SettingsError
from codojo.settings import RedactionSettings, load
from codojo.tasks.katas import load_katas
from codojo.trajectories.redact import Redactor
from codojo.trajectories.secret_formats import FORMATS
from tests.canaries import Canary, canaries, disguises, pieces, squeezed

REDACTOR = Redactor()
DATA = Path(os.environ.get("CODOJO_DATA", "../shared/data"))


@pytest.mark.row("H13")
@pytest.mark.parametrize("canary", canaries(), ids=lambda canary: canary.name)
def test_no_piece_of_a_secret_is_left_in_any_disguise(canary: Canary) -> None:
    for how, text in disguises(canary):
        after = REDACTOR.text(text)
        left = squeezed(after) + "".join(decoded(after))
        assert not any(piece in left for piece in pieces(canary.secret)), (how, after)
        assert "[redacted:" in after, how
        assert REDACTOR.text(after) == after, how


@pytest.mark.row("H13")
@pytest.mark.parametrize("seed", range(2, 6))
def test_every_secret_of_a_format_is_found_not_only_a_lucky_one(seed: int) -> None:
    for canary in canaries(seed):
        for how, text in disguises(canary):
            left = squeezed(REDACTOR.text(text))
            assert canary.secret not in left, (canary.name, how)


def test_there_are_more_than_25_formats() -> None:
    assert len({format.name for format in FORMATS}) > 50
    assert len(canaries()) > 25


def decoded(text: str) -> list[str]:
    """What runs of base64 in a text say, from each place where one may begin."""
    found = []
    for run in re.findall(r"[A-Za-z0-9+/]{16,}", squeezed(text)):
        for start in range(4):
            piece = run[start:][: len(run[start:]) // 4 * 4]
            found.append(base64.b64decode(piece).decode("latin-1"))
    return found


anything = st.recursive(
    st.none() | st.integers() | st.text() | st.sampled_from([c.text for c in canaries()]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
fragments = st.lists(
    st.sampled_from([text for c in canaries() for _, text in disguises(c)])
    | st.sampled_from(
        ["password = ", "://a:", "@", '"', "'", "+", "\\", "\n", "\\n", "[redacted:", "]", " "]
    )
    | st.text(max_size=12),
    max_size=8,
).map("".join)


@given(text=fragments)
@example("://u:[redacted:jwt]x@h password=[redacted:password]1aA")
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = REDACTOR.text(text)
    assert REDACTOR.text(once) == once


@given(value=anything)
def test_a_value_keeps_its_shape_and_redacts_once(value: Any) -> None:
    once = REDACTOR.redact(value)
    again = REDACTOR.redact(once.value)
    assert again.value == once.value and not again.findings
    assert type(once.value) is type(value)
    if not once.findings:
        assert once.value is value


@given(text=st.text(alphabet=string.printable + "é世\ud800\u200b", max_size=400))
def test_plain_text_of_any_characters_is_no_fault(text: str) -> None:
    REDACTOR.text(text)


@pytest.mark.row("H13")
def test_code_that_only_looks_random_is_left_alone() -> None:
    rng = random.Random(3)
    hexes = ["".join(rng.choices("0123456789abcdef", k=n)) for n in (32, 40, 56, 64, 128)]
    data = base64.b64encode(rng.randbytes(60)).decode()
    words = base64.b64encode(b"the quick brown fox jumps over the lazy dog").decode()
    kept = [
        *hexes,
        *(f'assert sha({h[:8]!r}) == "{h}"' for h in hexes),
        f"commit {hexes[1]}",
        "550e8400-e29b-41d4-a716-446655440000",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        f'decode("{data}")',
        f'assert encode("the quick brown fox jumps over the lazy dog") == "{words}"',
        "def test_that_words_of_more_than_sixteen_letters_are_counted_2(self):",
        "ThisIsAVeryLongIdentifierNumber12345 = AnotherOneOfTheseClassNames2",
        "password = input('Password: ')\nif password == expected_password:",
        "def login(user: str, password: str = '') -> Token:\n    token = make_token(user)",
        "tokens = text.split()\nfor token in tokens:\n    counts[token] = counts.get(token, 0) + 1",
        "api_key = os.environ['OPENAI_API_KEY']\nsecret = settings.secret_key",
        "headers = {'Authorization': f'Bearer {token}'}",
        "postgresql://user:password@localhost/db",
        "The password must have 8 characters, one digit and one capital letter.",
        "assert is_valid_password('Abcdef1!') is True",
        json.dumps({"key": hexes[0], "sum": hexes[0][:8], "sha256": hexes[3]}),
        "sk-learn is scikit-learn; task-manager-with-many-words; risk-adjusted-return-of-2020",
        "x = 'a' * 40 + '0123456789abcdefghijklmnopqrstuvwxyz'",
    ]
    for text in kept:
        assert REDACTOR.text(text) == text


def test_no_kata_is_rewritten() -> None:
    for task in load_katas():
        data = task.model_dump(mode="json")
        assert REDACTOR.redact(data).value is data, task.task_id


@pytest.mark.skipif(not DATA.is_dir(), reason="CODOJO_DATA is not there")
def test_no_task_or_solution_of_mbpp_is_rewritten() -> None:
    rows = [json.loads(line) for line in (DATA / "mbpp_sanitized.jsonl").read_text().splitlines()]
    assert len(rows) > 250
    assert [row["task_id"] for row in rows if REDACTOR.redact(row).findings] == []


@pytest.mark.skipif(not DATA.is_dir(), reason="CODOJO_DATA is not there")
def test_of_8200_solutions_to_humaneval_one_is_rewritten_for_a_password_in_an_address() -> None:
    with gzip.open(DATA / "humaneval_codegen16b_samples.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    solutions = [solution for row in rows for solution in row["solutions"]]
    found = [REDACTOR.redact(s).findings for s in solutions]
    assert len(solutions) == 8200
    assert [f for f in found if f] == [{"url-password": 1}]
    tasks = [{k: row[k] for k in ("prompt", "entry_point", "hidden_test")} for row in rows]
    assert not any(REDACTOR.redact(task).findings for task in tasks)


def test_what_was_redacted_loses_its_tokens_and_says_so() -> None:
    secret = canaries()[0].secret
    value = {
        "model": "m",
        "prompt_token_ids": [7, 8],
        "choices": [
            {"text": "clean", "token_ids": [1, 2], "logprobs": [-0.1, -0.2]},
            {"text": f"key {secret}", "token_ids": [3, 4], "logprobs": [-0.1, -0.2]},
            {
                "text": "",
                "tool_calls": [{"arguments": secret}],
                "token_ids": [5],
                "logprobs": [0.0],
            },
        ],
    }
    after: Any = REDACTOR.redact(value).value
    clean, dirty, called = after["choices"]
    assert clean == value["choices"][0]
    assert dirty["token_ids"] is None and dirty["logprobs"] is None
    assert dirty["token_exact"] is False and called["token_exact"] is False
    assert called["token_ids"] is None
    assert after["prompt_token_ids"] == [7, 8], "the prompt held no secret"


def test_names_of_fields_count_as_context() -> None:
    value = {"password": "hunter2-Zq9", "api_key": "9f8a7b6c5d4e3f2a", "key": "9f8a7b6c5d4e3f2a"}
    after = REDACTOR.redact(value)
    assert after.value == {
        "password": "[redacted:named]",
        "api_key": "[redacted:named]",
        "key": "9f8a7b6c5d4e3f2a",
    }
    assert after.findings == {"named": 2}


def test_keys_of_objects_are_redacted_and_none_is_lost() -> None:
    first, second = canaries(1)[2].secret, canaries(2)[2].secret
    after: Any = REDACTOR.redact({first: 1, second: 2}).value
    assert sorted(after.values()) == [1, 2] and not any("ghp_" in key for key in after)


@pytest.mark.parametrize(
    "known", ["s3cr3t/with+signs=", 'quo"ted\\back', "überGeheim-99", "line-one\nline-two9"]
)
def test_known_values_are_found_as_they_stand_and_as_others_write_them(known: str) -> None:
    from urllib.parse import quote

    redactor = Redactor(known=[known])
    half = len(known) // 2
    texts = [
        f"it is {known}!",
        f"https://host/?q={quote(known, safe='')}",
        json.dumps({"it": known}),
        base64.b64encode(f"settings of mine: {known}".encode()).decode(),
    ]
    if "\n" not in known and '"' not in known:
        texts.append(f'x = "{known[:half]}" + "{known[half:]}"')
    for text in texts:
        after = redactor.text(text)
        assert known not in after and "[redacted:" in after, text
        assert quote(known, safe="") not in after
        assert not any(known.encode().decode("latin-1") in said for said in decoded(after))


def test_settings_add_patterns_and_allow_test_vectors() -> None:
    token = canaries()[2].secret
    redactor = Redactor(RedactionSettings(patterns=(r"ACME-\d{6}",), allow=(re.escape(token),)))
    assert redactor.text(f"ACME-123456 {token}") == f"[redacted:pattern] {token}"
    assert Redactor(RedactionSettings(enabled=False)).text(token) == token


def test_a_pattern_that_is_none_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"redaction\.patterns.*no regular expression"):
        load(tmp_path, {"redaction.patterns": ("(",)}, user_file=tmp_path / "none")


@pytest.mark.parametrize(
    "text",
    [
        "\\" * 200_000,
        '"' + " " * 200_000,
        '"' * 200_000,
        "-----BEGIN PRIVATE KEY-----" * 5_000,
        "password " * 20_000,
        "://a:" * 40_000,
        "AKIA" * 50_000,
        "eyJ" + "aA1." * 50_000,
        "A1b" * 70_000,
        "\n" * 200_000,
        "secret = " + "a1" * 100_000,
        "sk-" * 60_000,
    ],
    ids=lambda text: text[:12].encode("unicode_escape").decode(),
)
def test_hostile_text_costs_no_more_than_its_length(text: str) -> None:
    began = time.process_time()
    REDACTOR.text(text)
    seconds = time.process_time() - began
    assert seconds < 8, "200 KB"
