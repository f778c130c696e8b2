"""The coder at work on the files of a folder: whole files out, in fences that name their path."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from langchain_core.language_models import BaseChatModel

from codojo.agents.asking import Reply, Sampling, Thread, ask_model
from codojo.agents.parsing import file_blocks
from codojo.agents.prompts import render
from codojo.tasks.changes import refusal
from codojo.tasks.schema import Brief
from codojo.trajectories.schema import StepRef


@dataclass(frozen=True)
class Edit:
    """Files that a coder wrote, and the conversation that they ended."""

    files: dict[str, str]
    refused: dict[str, str]
    """Paths that may not be written, and why; they are not among the files."""
    text: str
    """The whole answer; all there is where no file has to change."""
    origin: StepRef
    thread: Thread


@dataclass(frozen=True)
class Editor:
    """Changes files. Sees the brief with what the folder holds, a plan, and reports on its own attempts."""

    model: BaseChatModel
    sampling: Sampling

    async def propose(self, brief: Brief, *, plan: str = "", remarks: str = "") -> Edit:
        """Whole files for a request."""
        prompt = render("coder_files", prompt=brief.prompt, plan=plan, remarks=remarks)
        return _edit(await self._ask(prompt.text, prompt.template, None))

    async def repair(self, thread: Thread, *, report: str = "", remarks: str = "") -> Edit:
        """Whole files anew, from what happened or what a person said."""
        prompt = render("coder_files_repair", report=report, remarks=remarks)
        return _edit(await self._ask(prompt.text, prompt.template, thread))

    async def _ask(self, text: str, template: str, thread: Thread | None) -> Reply:
        sampling = replace(self.sampling, n=1)
        return await ask_model(
            self.model, text, agent="coder", template=template, sampling=sampling, thread=thread
        )


def _edit(reply: Reply) -> Edit:
    text = reply.choices[0].text
    proposed: Mapping[str, str] = file_blocks(text)
    refused = {path: why for path in proposed if (why := refusal(path))}
    files = {path: content for path, content in proposed.items() if path not in refused}
    return Edit(files, refused, text, reply.origin(0), reply.thread(0))
