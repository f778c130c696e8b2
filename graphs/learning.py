"""What the team keeps of a finished rollout: an exemplar, and a rule where attempts differed."""

from codojo.agents.builder import Builder
from codojo.graphs.parts import Parts
from codojo.memory.schema import Entry, Exemplar, Provenance, Rule
from codojo.tasks.schema import Brief
from codojo.trajectories.journal import ask
from codojo.trajectories.schema import Proposal, RolloutEnd


async def learn(brief: Brief, end: RolloutEnd, parts: Parts, builder: Builder | None) -> None:
    """Remember a solved `train` task, each entry as an effect; nothing without memory.

    Without a builder, as in `solo`, no rule is written. Only what passed sealed tests in isolation is kept. Gate and held-out verdicts teach nobody.
    """
    if parts.remember is None or brief.split != "train" or end.chosen is None:
        return
    passed = end.proposals[end.chosen]
    if not _is_proof(passed):
        return
    provenance = _provenance(passed, parts)
    about = {"task_id": brief.task_id, "family": brief.family, "suite": brief.suite}
    await _remember(
        parts,
        Exemplar(
            **about,
            split=brief.split,
            provenance=provenance,
            prompt=brief.prompt,
            code=passed.candidate.code,
        ),
    )
    failed = [p for p in end.proposals if p.verdict and p.verdict.status == "failed"]
    if failed and builder:
        line = await builder.rule(brief, failed[0].candidate, passed.candidate)
        if line:
            await _remember(
                parts, Rule(**about, split=brief.split, provenance=provenance, text=line)
            )


def _is_proof(proposal: Proposal) -> bool:
    verdict = proposal.verdict
    return bool(
        verdict
        and verdict.passed
        and verdict.tests == "sealed"
        and verdict.integrity == "isolated"
        and verdict.isolation != "none"
    )


def _provenance(proposal: Proposal, parts: Parts) -> Provenance:
    verdict = proposal.verdict
    assert verdict is not None
    return Provenance(
        rollout=parts.rollout_id(),
        agent="coder",
        model=parts.model_name("coder"),
        verdict=verdict.status,
        tests=verdict.tests,
        isolation=verdict.isolation,
    )


async def _remember(parts: Parts, entry: Entry) -> None:
    remember = parts.remember
    assert remember is not None

    async def perform() -> None:
        await remember(entry)

    await ask("remember", {"kind": entry.kind, "id": entry.id}, perform)
