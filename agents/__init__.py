"""Planner, coder, tester, critic, builder: each a function of what it is given and a model.

No agent knows a graph. Each has its prompt in `prompts/`, a parser, and a typed answer; an answer that
cannot be parsed is an outcome that the caller sees, never a crash.
"""
