"""The script as a pure function."""

from hypothesis import given
from hypothesis import strategies as st

from codojo.serving.scripted import Asked, Effect, Rule, Script, reply_to, tokens_of

LAW = Script(rules=[Rule(p_pass=0.3, passing=["good"], failing=["bad"])])


def share_of_good(script: Script, model: str = "scripted", effect: Effect | None = None) -> float:
    replies = [
        reply_to(
            Asked(model, [{"role": "user", "content": f"task {i}"}], choice, 0), script, effect
        )
        for i in range(200)
        for choice in range(10)
    ]
    return replies.count("good") / len(replies)


def test_success_law_holds_and_adapters_change_it() -> None:
    assert abs(share_of_good(LAW) - 0.3) < 0.04
    assert abs(share_of_good(LAW, "coder-1", Effect(p_pass=0.8)) - 0.8) < 0.04
    named = LAW.model_copy(
        update={"rules": [LAW.rules[0].model_copy(update={"p_pass_by_model": {"coder-": 0.1}})]}
    )
    assert abs(share_of_good(named, "coder-1") - 0.1) < 0.04
    assert abs(share_of_good(named) - 0.3) < 0.04


def test_first_matching_rule_answers_and_none_is_told() -> None:
    script = Script(
        rules=[
            Rule(system="tester", replies=["a test"]),
            Rule(match="sort", replies=["sorted"]),
            Rule(model="coder-", replies=["adapter"]),
        ]
    )

    def ask(user: str, system: str = "", model: str = "scripted") -> str | None:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        return reply_to(Asked(model, messages, 0, 0), script)

    assert ask("sort this", "you are a tester") == "a test"
    assert ask("sort this") == "sorted"
    assert ask("else", model="coder-1") == "adapter"
    assert ask("else") is None


def test_sequence_goes_through_replies_in_order() -> None:
    script = Script(rules=[Rule(replies=["a", "b", "c"], order="sequence")])
    messages = [{"role": "user", "content": "x"}]
    assert [reply_to(Asked("m", messages, 0, ask), script) for ask in range(4)] == [*"abca"]


@given(st.text())
def test_tokens_join_to_the_text_again(text: str) -> None:
    assert "".join(tokens_of(text)) == text
