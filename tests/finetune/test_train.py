"""Real training of a tiny model in the real child process, and what happens when it breaks."""

import asyncio
import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from codojo.errors import Busy, ContaminationError, TrainingError
from codojo.finetune.load_check import check_files
from codojo.finetune.recipe import Recipe, adapter_name, make_recipe
from codojo.finetune.train import TrainProgress, TrainResult, train
from codojo.settings import TrainSettings
from codojo.trajectories.rows import PromptCompletion

pytestmark = pytest.mark.timeout(300)

SETTINGS = TrainSettings(rank=4, learning_rate=5e-3, epochs=2, batch_size=4, max_length=128)
STEPS = 12


def recipe_for(rows: list[PromptCompletion], base: Path, **changes: Any) -> Recipe:
    settings = SETTINGS.model_copy(update=changes)
    return make_recipe(settings, rows, base=base, base_hash="ba5e" * 16)


def children(out: Path) -> list[psutil.Process]:
    """Training processes at work on this folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if f"{out}.partial" in " ".join(process.cmdline()):
                found.append(process)
    return found


def wait_until(is_true: Callable[[], object], seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def kill_when(is_true: Callable[[], object], command: list[str]) -> None:
    """Start a process, and end it with SIGKILL once something holds."""
    with subprocess.Popen(command) as process:
        wait_until(is_true)
        process.kill()


@pytest.fixture(scope="module")
def trained(
    rows: list[PromptCompletion], tiny: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainResult, list[TrainProgress]]:
    """One uninterrupted run, which the others are compared with."""
    seen: list[TrainProgress] = []
    out = tmp_path_factory.mktemp("whole") / "adapter"
    recipe = recipe_for(rows, tiny)
    return asyncio.run(train(recipe, rows, tiny, out, progress=seen.append)), seen


Trained = tuple[TrainResult, list[TrainProgress]]


def test_an_adapter_comes_out_complete_and_passes_the_load_check(
    trained: Trained, rows: list[PromptCompletion], tiny: Path
) -> None:
    result, seen = trained
    assert sorted(path.name for path in result.folder.parent.iterdir()) == [
        ".adapter.lock",
        "adapter",
    ]
    checks = check_files(result.folder, tiny, "ba5e" * 16, recipe_for(rows, tiny))
    assert all(check.ok for check in checks), checks
    manifest = result.manifest
    assert (manifest.steps, manifest.rows, manifest.too_long) == (STEPS, 24, 0)
    assert manifest.recipe.rows_hash == recipe_for(rows, tiny).rows_hash
    assert manifest.losses[-1] < 0.95 * manifest.losses[0]
    assert [(p.step, p.total) for p in seen] == [(i, STEPS) for i in range(1, STEPS + 1)]
    assert tuple(p.loss for p in seen) == manifest.losses
    assert str(tiny) not in (result.folder / "adapter_config.json").read_text()


def test_the_first_loss_is_that_of_the_base_model_on_the_completions(
    trained: Trained, rows: list[PromptCompletion], tiny: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries, at import
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from codojo.finetune.examples import plan_batches, tokenise

        data = tokenise(rows, AutoTokenizer.from_pretrained(tiny), 128).examples
        model = AutoModelForCausalLM.from_pretrained(tiny)
    lengths = [len(example.input_ids) for example in data]
    batch = plan_batches(lengths, batch_size=4, epochs=2, max_steps=0, seed=0)[0]
    total, count = 0.0, 0
    with torch.no_grad():
        for i in batch:
            labels = torch.tensor([data[i].labels])
            learnt = int((labels[:, 1:] != -100).sum())
            loss = model(torch.tensor([data[i].input_ids]), labels=labels).loss
            total, count = total + float(loss) * learnt, count + learnt
    assert trained[0].manifest.losses[0] == pytest.approx(total / count, rel=1e-4)


@pytest.mark.row("E5")
async def test_a_finished_run_is_returned_and_not_repeated(
    trained: Trained, rows: list[PromptCompletion], tiny: Path
) -> None:
    result, _ = trained
    steps: list[TrainProgress] = []
    recipe = recipe_for(rows, tiny)
    again = await train(recipe, rows, tiny, result.folder, progress=steps.append)
    assert again == result
    assert steps == []
    with pytest.raises(TrainingError, match="adapters never change"):
        await train(recipe_for(rows, tiny, seed=1), rows, tiny, result.folder)


PARENT = """
import asyncio, sys
from pathlib import Path
from codojo.finetune.recipe import Recipe
from codojo.finetune.train import train
from codojo.trajectories.rows import PromptCompletion
recipe, rows, base, out = sys.argv[1:]
recipe = Recipe.model_validate_json(recipe)
rows = [PromptCompletion.model_validate_json(line) for line in Path(rows).open()]
asyncio.run(train(recipe, rows, Path(base), Path(out), checkpoint_steps=2))
"""


@pytest.mark.row("E4")
async def test_a_run_killed_twice_ends_with_the_same_losses_and_weights(
    trained: Trained, rows: list[PromptCompletion], tiny: Path, tmp_path: Path
) -> None:
    out, file = tmp_path / "adapter", tmp_path / "rows.jsonl"
    recipe = recipe_for(rows, tiny)
    file.write_text("".join(f"{row.model_dump_json()}\n" for row in rows))
    command = [sys.executable, "-c", PARENT, recipe.model_dump_json(), *map(str, (file, tiny, out))]
    checkpoints = tmp_path / "adapter.partial" / "checkpoints"
    kill_when(lambda: (checkpoints / "checkpoint-2" / "complete").exists(), command)
    wait_until(lambda: not children(out))
    assert not out.exists()
    (checkpoints / "checkpoint-11").mkdir()  # as a kill in the middle of a checkpoint leaves it
    killed: list[int] = []

    def kill(progress: TrainProgress) -> None:
        if not killed:  # the first step after the resume
            killed.append(progress.step)
            for child in children(out):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()

    result = await train(recipe, rows, tiny, out, progress=kill, checkpoint_steps=2)
    (step,) = killed
    # A trainer that the kernel killed was short of memory, as far as anyone can tell.
    assert result.manifest.accumulate == 2
    assert result.manifest.resumed_at >= max(2, step - 3)
    assert result.manifest.losses == pytest.approx(trained[0].manifest.losses, rel=1e-3)
    assert same_weights(result.folder, trained[0].folder)


def same_weights(one: Path, other: Path) -> bool:
    import numpy as np
    from safetensors.numpy import load_file

    a, b = (load_file(folder / "adapter_model.safetensors") for folder in (one, other))
    return a.keys() == b.keys() and all(np.allclose(a[k], b[k], rtol=1e-3, atol=1e-5) for k in a)


async def test_cancelling_ends_the_child_and_a_second_trainer_is_kept_out(
    rows: list[PromptCompletion], tiny: Path, tmp_path: Path
) -> None:
    out = tmp_path / "adapter"
    stepped = asyncio.Event()
    recipe = recipe_for(rows, tiny, epochs=500)
    task = asyncio.create_task(train(recipe, rows, tiny, out, progress=lambda _: stepped.set()))
    await asyncio.wait_for(stepped.wait(), 60)
    with pytest.raises(Busy, match="another process trains"):
        await train(recipe, rows, tiny, out)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children(out) == []
    assert not out.exists()


def test_the_child_dies_with_a_parent_killed_while_it_still_loads(
    rows: list[PromptCompletion], tiny: Path, tmp_path: Path
) -> None:
    out, file = tmp_path / "adapter", tmp_path / "rows.jsonl"
    file.write_text("".join(f"{row.model_dump_json()}\n" for row in rows))
    recipe = recipe_for(rows, tiny).model_dump_json()
    command = [sys.executable, "-c", PARENT, recipe, *map(str, (file, tiny, out))]
    # The parent's own command line does not name the partial folder, the child's does.
    kill_when(lambda: children(out), command)
    wait_until(lambda: not children(out), seconds=20)


@pytest.mark.row("E2")
async def test_a_loss_that_is_no_number_stops_and_names_the_tasks(
    rows: list[PromptCompletion], tiny: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"(?s)at step \d+ \(.*task-\d\d.*learning_rate") as err:
        await train(
            recipe_for(rows, poisoned(tiny, tmp_path)), rows, tmp_path / "base", tmp_path / "a"
        )
    assert "nan" in str(err.value)
    assert not (tmp_path / "a").exists()


def poisoned(tiny: Path, tmp_path: Path) -> Path:
    """A base model with one weight that is no number, at a token of the prompt."""
    import numpy as np
    from safetensors.numpy import load_file, save_file

    base = shutil.copytree(tiny, tmp_path / "base")
    tensors = load_file(base / "model.safetensors")
    embedding = np.array(tensors["model.embed_tokens.weight"])
    embedding[json.loads((base / "tokenizer.json").read_bytes())["model"]["vocab"]["W"]] = np.nan
    save_file({**tensors, "model.embed_tokens.weight": embedding}, base / "model.safetensors")
    return base


@pytest.mark.row("E1")
async def test_out_of_memory_is_tried_once_more_in_smaller_pieces(
    trained: Trained,
    rows: list[PromptCompletion],
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A module that Python loads at start makes the child's memory end above two rows at once.
    (tmp_path / "sitecustomize.py").write_text(SMALL_MEMORY)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path.cwd()}")
    recipe = recipe_for(rows, tiny)
    result = await train(recipe, rows, tiny, tmp_path / "adapter")
    assert result.manifest.accumulate == 2
    assert result.manifest.recipe_hash == trained[0].manifest.recipe_hash
    assert result.manifest.losses == pytest.approx(trained[0].manifest.losses, rel=1e-3)


SMALL_MEMORY = """
import sys
if "codojo.finetune.train_child" in sys.orig_argv:
    import torch
    embed = torch.nn.Embedding.forward
    def forward(self, ids):
        if ids.shape[0] > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return embed(self, ids)
    torch.nn.Embedding.forward = forward
"""


@pytest.mark.row("E3")
async def test_rows_that_cannot_be_trained_on_are_refused(
    rows: list[PromptCompletion], tiny: Path, tmp_path: Path
) -> None:
    out = tmp_path / "adapter"
    for few in ([], rows[:1]):
        with pytest.raises(TrainingError, match=r"too few to train on"):
            await train(recipe_for(few, tiny), few, tiny, out)
    with pytest.raises(TrainingError, match="make a new recipe"):
        await train(recipe_for(rows, tiny), rows[1:], tiny, out)
    with pytest.raises(TrainingError, match=r"0 of 24 rows have at most 8 tokens.*max_length"):
        await train(recipe_for(rows, tiny, max_length=8), rows, tiny, out)
    assert TrainingError.exit_code not in (0, 1)
    assert not out.exists()


@pytest.mark.row("E16")
@pytest.mark.parametrize("split", ["gate", "held_out", None])
async def test_rows_from_outside_the_train_split_are_refused(
    rows: list[PromptCompletion], tiny: Path, tmp_path: Path, split: str | None
) -> None:
    source = rows[3].source.model_copy(update={"split": split})
    leaky = [*rows[:3], rows[3].model_copy(update={"source": source}), *rows[4:]]
    with pytest.raises(ContaminationError, match="task-03"):
        await train(recipe_for(leaky, tiny), leaky, tiny, tmp_path / "adapter")


def test_equal_recipes_have_equal_hashes_wherever_the_base_lies(
    rows: list[PromptCompletion], tiny: Path
) -> None:
    recipe = recipe_for(rows, tiny)
    assert recipe.hash == recipe_for(rows, Path("/elsewhere")).hash
    assert recipe.hash != recipe_for(rows, tiny, rank=8).hash
    assert recipe.hash != recipe_for(rows[1:], tiny).hash
    assert recipe.alpha == 2 * recipe.rank


def test_names_are_made_from_content(trained: Trained) -> None:
    result, _ = trained
    name = adapter_name(result.folder)
    assert name.startswith("all-")
    assert all(math.isfinite(loss) for loss in result.manifest.losses)
