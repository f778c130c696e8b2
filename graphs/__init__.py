"""LangGraph state machines that wire the agents, rollouts that run them, and the improve loop.

Nodes are pure between effects: no clock, no `random`, no I/O of their own. Everything else goes through
the journal, which is what lets a killed rollout go on where it stopped.
"""
