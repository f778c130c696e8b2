"""Supervised fine-tuning with TRL and PEFT. Only `train_child.py` imports this: it loads torch."""

import importlib.metadata
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer

from codojo.errors import TrainingError
from codojo.finetune.examples import IGNORED, Example, plan_batches, tokenise
from codojo.finetune.recipe import (
    CONFIG,
    MANIFEST,
    WEIGHTS,
    Manifest,
    file_hash,
    tokenizer_hash,
)
from codojo.finetune.train import MIN_ROWS, Job, NotFinite, Say
from codojo.trajectories.rows import PromptCompletion

COMPLETE = "complete"
"""Marks a checkpoint that was written to its end; the library writes checkpoints in place."""

PACKAGES = ("codojo", "torch", "transformers", "trl", "peft", "accelerate")


class CompletionTrainer(SFTTrainer):  # type: ignore[misc]  # TRL ships no types
    """An SFT trainer that computes logits only where there is something to learn.

    On a CPU, TRL 1.16 scores every position and masks afterwards, though a prompt is three quarters
    of a row here and the vocabulary is the widest layer of a small model.
    """

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Sum of the losses of the labels, over the number of labels in the whole batch."""
        if return_outputs:
            raise NotImplementedError("this trainer keeps no outputs; it is never evaluated")
        base = self.accelerator.unwrap_model(model).get_base_model()
        hidden = base.model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            use_cache=False,
        ).last_hidden_state
        labels = inputs["labels"][:, 1:]
        learnt = labels != IGNORED
        logits = base.lm_head(hidden[:, :-1][learnt]).float()
        loss = torch.nn.functional.cross_entropy(logits, labels[learnt], reduction="sum")
        if not torch.isfinite(loss):
            raise NotFinite(f"the loss is {loss.item()}")
        return loss / num_items_in_batch


class Reporter(TrainerCallback):  # type: ignore[misc]  # Transformers ships no types for it
    """Says each step, marks whole checkpoints, and stops at gradients that are no numbers."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.seconds = 0.0
        self.began = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.seconds += time.monotonic() - self.began

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if not logs or "loss" not in logs:
            return
        # Logged before a checkpoint of the same step is written, so none is written of this.
        if not math.isfinite(logs.get("grad_norm", 0.0)):
            raise NotFinite(f"the gradient is {logs['grad_norm']}")
        self.say({"step": state.global_step, "total": state.max_steps, "loss": logs["loss"]})

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


def run(job: Job, say: Say) -> None:
    """Train, and write the adapter to the folder `adapter` of the job's work folder."""
    recipe, work = job.recipe, Path(job.work)
    with Path(job.rows).open("rb") as lines:
        rows = [PromptCompletion.model_validate_json(line) for line in lines]
    tokenizer = AutoTokenizer.from_pretrained(recipe.base)
    data = tokenise(rows, tokenizer, recipe.max_length)
    if len(data.examples) < MIN_ROWS:
        raise TrainingError(
            f"{len(data.examples)} of {len(rows)} rows have at most {recipe.max_length} tokens, "
            f"need {MIN_ROWS}"
        )
    plan = plan_batches(
        [len(example.input_ids) for example in data.examples],
        batch_size=recipe.batch_size,
        epochs=recipe.epochs,
        max_steps=recipe.max_steps,
        seed=recipe.seed,
    )
    reporter = Reporter(say)
    trainer = make_trainer(job, tokenizer, data.examples, plan, reporter)
    checkpoint = last_checkpoint(work)
    resumed_at = int(checkpoint.name.split("-")[1]) if checkpoint else 0
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except NotFinite as err:
        batch = plan[min(trainer.state.global_step, len(plan) - 1)]
        tasks = sorted({rows[data.examples[i].row].source.task_id for i in batch})
        raise NotFinite(
            f"{err} at step {trainer.state.global_step + 1} ({', '.join(tasks)})"
        ) from err
    if trainer.state.global_step != len(plan):
        raise RuntimeError(f"trained {trainer.state.global_step} of {len(plan)} steps")
    adapter = work / "adapter"
    save_adapter(trainer.model, adapter, Path(recipe.base).name)
    planned = [data.examples[i] for batch in plan for i in batch]
    manifest = Manifest(
        recipe=recipe,
        recipe_hash=recipe.hash,
        tokenizer_hash=tokenizer_hash(recipe.base),
        weights_hash=file_hash(adapter / WEIGHTS) or "",
        rows=len(data.examples),
        too_long=data.too_long,
        steps=len(plan),
        tokens=sum(len(example.input_ids) for example in planned),
        label_tokens=sum(label != IGNORED for example in planned for label in example.labels),
        losses=tuple(log["loss"] for log in trainer.state.log_history if "loss" in log),
        seconds=round(reporter.seconds, 3),
        resumed_at=resumed_at,
        accumulate=job.accumulate,
        versions={name: importlib.metadata.version(name) for name in PACKAGES},
        rollouts=tuple(sorted({row.source.rollout for row in rows})),
    )
    (adapter / MANIFEST).write_text(json.dumps(manifest.model_dump(mode="json"), indent=2) + "\n")


def make_trainer(
    job: Job,
    tokenizer: Any,
    examples: Sequence[Example],
    plan: Sequence[Sequence[int]],
    reporter: Reporter,
) -> CompletionTrainer:
    """A trainer that walks through the plan once, in its order."""
    recipe = job.recipe
    torch.manual_seed(recipe.seed)
    cuda = torch.cuda.is_available()
    model = AutoModelForCausalLM.from_pretrained(
        recipe.base, dtype=getattr(torch, recipe.dtype), attn_implementation="sdpa"
    )
    ordered = [examples[i] for batch in plan for i in batch]
    return CompletionTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(
            [{"input_ids": example.input_ids, "labels": example.labels} for example in ordered]
        ),
        peft_config=LoraConfig(
            r=recipe.rank,
            lora_alpha=recipe.alpha,
            target_modules=recipe.targets,
            lora_dropout=0.0,
            bias="none",
            task_type="CAUSAL_LM",
        ),
        callbacks=[reporter],
        args=SFTConfig(
            output_dir=str(Path(job.work) / "checkpoints"),
            per_device_train_batch_size=max(1, len(plan[0]) // job.accumulate),
            gradient_accumulation_steps=job.accumulate,
            num_train_epochs=1,
            train_sampling_strategy="sequential",
            learning_rate=recipe.learning_rate,
            lr_scheduler_type=recipe.schedule,
            seed=recipe.seed,
            max_length=None,
            use_cpu=not cuda,
            bf16=recipe.dtype == "bfloat16",
            # Recomputing activations costs a sixth of the CPU time, and rows here need little memory.
            gradient_checkpointing=cuda,
            dataloader_pin_memory=cuda,
            save_strategy="steps",
            save_steps=job.checkpoint_steps,
            save_total_limit=2,
            logging_steps=1,
            logging_nan_inf_filter=False,
            report_to=[],
            disable_tqdm=True,
        ),
    )


def last_checkpoint(work: Path) -> Path | None:
    """The latest checkpoint that was written to its end."""
    marks = (work / "checkpoints").glob(f"checkpoint-*/{COMPLETE}")
    return max((m.parent for m in marks), key=lambda c: int(c.name.split("-")[1]), default=None)


def save_adapter(model: Any, folder: Path, base_name: str) -> None:
    """Write weights and configuration, and check that training changed something."""
    for config in model.peft_config.values():
        # The folder of the base is a matter of this machine; its hash is in the manifest.
        config.base_model_name_or_path = base_name
        # A set has another order in every process, and would give equal adapters different names.
        config.target_modules = sorted(config.target_modules)
    model.save_pretrained(folder, safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)
    norms = [
        float(weight.norm())
        for name, weight in load_file(folder / WEIGHTS).items()
        if "lora_B" in name
    ]
    if not all(map(math.isfinite, norms)):
        raise NotFinite("a weight of the adapter is")
    if not any(norms):
        raise RuntimeError("training left the adapter as it was: all of lora_B is zero")
    if not (folder / CONFIG).is_file():
        raise RuntimeError(f"no {CONFIG} was written")


def is_out_of_memory(err: BaseException) -> bool:
    """Whether an error means that memory ran out; CPU allocators say it in words only."""
    if isinstance(err, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(err)
    return "can't allocate memory" in text or "not enough memory" in text
