"""The curator `feedback`: rows from what people said of answers. Pure.

A rating becomes an unpaired row (KTO: Ethayarajh et al. 2024, arXiv:2402.01306), an edit a row to imitate and
a preference of the edit over the answer, a pick one preference for each answer that was passed over. The
prompt is exactly what the model was asked with. A person's word is no verdict: rows say that a person is
their source, and who and when.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from codojo.finetune.curating import Guard
from codojo.finetune.picks import source_of
from codojo.tasks.schema import Record, Verdict
from codojo.trajectories.feedback import Feedback
from codojo.trajectories.rows import Preference, PromptCompletion, Row, RowSource, Unpaired
from codojo.trajectories.schema import Message, StepRef, Trajectory


class FeedbackRows(Record):
    """Rows in the order in which people spoke, and what made none, by reason."""

    rows: tuple[Unpaired | Preference | PromptCompletion, ...]
    left_out: dict[str, int]

    def of_kind(self, kind: type[Row]) -> list[Row]:
        """Those that one sort of format takes."""
        return [row for row in self.rows if isinstance(row, kind)]


def feedback_rows(
    trajectories: Mapping[str, Trajectory], said: Iterable[Feedback], *, guard: Guard
) -> FeedbackRows:
    """Rows of everything people said and did not take back.

    Of several ratings that one person gave one answer the last counts. Nothing is made of gate and
    held-out tasks, nor of text in which the guard finds some of them.

    Args:
        trajectories: By id; what was said of others is left out and counted.
    """
    left_out: Counter[str] = Counter()
    rows: list[Unpaired | Preference | PromptCompletion] = []
    for feedback in _latest(said):
        trajectory = trajectories.get(feedback.rollout)
        if trajectory is None or feedback.answer.step not in trajectory.steps:
            left_out["no_answer"] += 1
        elif trajectory.brief.split in ("gate", "held_out"):
            left_out["not_train"] += 1
        else:
            for row in _rows(trajectory, feedback):
                if guard.find(_text(row)):
                    left_out["contaminated"] += 1
                else:
                    rows.append(row)
    return FeedbackRows(rows=tuple(rows), left_out=dict(sorted(left_out.items())))


def _latest(said: Iterable[Feedback]) -> list[Feedback]:
    """One rating of an answer a person, the last; edits and picks as they are."""
    kept: dict[object, Feedback] = {}
    for feedback in said:
        rating = feedback.kind in ("good", "bad")
        about = (feedback.author, feedback.rollout, feedback.answer) if rating else feedback.id
        kept.pop(about, None)
        kept[about] = feedback
    return list(kept.values())


def _rows(
    trajectory: Trajectory, feedback: Feedback
) -> Iterator[Unpaired | Preference | PromptCompletion]:
    prompt = trajectory.prompt(feedback.answer.step)
    said = _message(trajectory, feedback.answer)
    source = _source(trajectory, feedback.answer, feedback)
    if feedback.kind in ("good", "bad"):
        label = feedback.kind == "good"
        yield Unpaired(prompt=prompt, completion=(said,), label=label, source=source)
    elif feedback.kind == "edit":
        better = Message(role="assistant", content=feedback.text)
        mine = source.model_copy(update={"model": f"person:{feedback.author}"})
        yield PromptCompletion(prompt=prompt, completion=(better,), source=mine)
        if better != said:
            yield Preference(
                prompt=prompt,
                chosen=(better,),
                rejected=(said,),
                source=mine,
                rejected_source=source,
            )
    else:
        for other in feedback.over:
            if other.step in trajectory.steps and trajectory.prompt(other.step) == prompt:
                rejected = _message(trajectory, other)
                if rejected != said:
                    yield Preference(
                        prompt=prompt,
                        chosen=(said,),
                        rejected=(rejected,),
                        source=source,
                        rejected_source=_source(trajectory, other, feedback),
                    )


def _message(trajectory: Trajectory, answer: StepRef) -> Message:
    return trajectory.steps[answer.step].output.choices[answer.choice].message


def _source(trajectory: Trajectory, answer: StepRef, feedback: Feedback) -> RowSource:
    found = [p.verdict for p in trajectory.proposals if p.origin == answer and p.verdict]
    verdict = found[0] if found else Verdict(status="unverified", tests="person")
    source = source_of(trajectory, trajectory.steps[answer.step], answer.choice, verdict)
    # How the answer behaves says nothing of what a person wrote in its place.
    said = {"author": feedback.author, "said_at": feedback.at, "behaviour": None}
    return source.model_copy(update=said)


def _text(row: Unpaired | Preference | PromptCompletion) -> str:
    said = (*row.chosen, *row.rejected) if isinstance(row, Preference) else row.completion
    return "\n\n".join(message.content for message in (*row.prompt, *said))
