"""Exported files are what their consumers read, by the consumers' own code where it installs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from codojo.exporting import export
from codojo.filters import Filters
from codojo.trajectories.exporters.formats import formats

TRL = ("trl-lm", "trl-sft", "trl-dpo", "trl-kto", "trl-stepwise")
ROOT = Path(__file__).parent.parent.parent


def ask(script: str, *arguments: object, **environment: str) -> Any:
    """What a script prints last, in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-c", script, *map(str, arguments)]
    quiet = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **quiet, **environment},
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


DETECT = """
import json, sys
from datasets import load_dataset
from tests.finetune.conftest import make_tokenizer
from trl.data_utils import apply_chat_template, is_conversational
tokenizer = make_tokenizer()
found = {}
for name in sys.argv[3:]:
    data = load_dataset("json", data_files=f"{sys.argv[1]}/{name}.jsonl", split="train", cache_dir=sys.argv[2])
    rows = list(data)
    talk = is_conversational(rows[0])
    plain = [{k: json.loads(v) if k == "tools" and v else v for k, v in row.items()} for row in rows]
    texts = [apply_chat_template(row, tokenizer) for row in plain] if talk else []
    found[name] = {"columns": sorted(data.column_names), "talk": talk, "rows": rows, "texts": texts}
print(json.dumps(found))
"""


def test_trl_and_datasets_read_every_format(dojo: Path, tmp_path: Path) -> None:
    for name in TRL:
        export(dojo, name, tmp_path / f"{name}.jsonl")
    found = ask(DETECT, tmp_path, tmp_path / "cache", *TRL)
    assert {name: (read["talk"], read["columns"]) for name, read in found.items()} == {
        "trl-lm": (True, ["messages", "tools"]),
        "trl-sft": (True, ["completion", "prompt", "tools"]),
        "trl-dpo": (True, ["chosen", "prompt", "rejected", "tools"]),
        "trl-kto": (True, ["completion", "label", "prompt", "tools"]),
        "trl-stepwise": (False, ["completions", "labels", "prompt"]),
    }
    for name, read in found.items():
        lines = (tmp_path / f"{name}.jsonl").read_text().splitlines()
        assert len(lines) == len(read["rows"])
        assert all("None" not in json.dumps(text) for text in read["texts"])
    steps = found["trl-stepwise"]["rows"]
    assert all(len(row["completions"]) == len(row["labels"]) for row in steps)
    assert {len(row["labels"]) for row in steps} == {1, 2}, "a repair has its attempt before it"
    called = next(t for t in found["trl-sft"]["texts"] if "mul" in t["completion"])
    assert called["completion"].startswith("```python\ndef mul"), "the mask begins at the answer"


READ_FOLDER = """
import json, sys
from datasets import load_dataset
data = load_dataset(sys.argv[1], cache_dir=sys.argv[2])
print(json.dumps({name: list(part) for name, part in data.items()}))
"""


@pytest.mark.parametrize("parquet", [False, True])
def test_load_dataset_reads_a_folder_by_its_card(parquet: bool, dojo: Path, tmp_path: Path) -> None:
    done = export(
        dojo, "trl-kto", tmp_path / "out", Filters(validation=0.15), parquet=parquet
    ).exported
    found = ask(READ_FOLDER, tmp_path / "out", tmp_path / "cache")
    held = {name: part.rows for name, part in done.parts.items() if part.rows}
    assert {name: len(rows) for name, rows in found.items()} == held
    if not parquet:
        (call,) = found["validation"][0]["prompt"][1]["tool_calls"]
        assert call["function"] == {"name": "run_tests", "arguments": {"path": "tests"}}


TRAIN = """
import json, sys
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
import trl
kind, file, model, out = sys.argv[1:]
data = load_dataset("json", data_files=file, split="train", cache_dir=out + "/cache")
trainer, config = {
    "trl-lm": (trl.SFTTrainer, trl.SFTConfig),
    "trl-sft": (trl.SFTTrainer, trl.SFTConfig),
    "trl-dpo": (trl.DPOTrainer, trl.DPOConfig),
    "trl-kto": (trl.KTOTrainer, trl.KTOConfig),
}[kind]
settings = config(output_dir=out, max_steps=1, per_device_train_batch_size=2, report_to=[], use_cpu=True,
                  bf16=False, max_length=512, logging_steps=1, save_strategy="no", seed=1)
made = trainer(model=AutoModelForCausalLM.from_pretrained(model), args=settings, train_dataset=data,
               processing_class=AutoTokenizer.from_pretrained(model))
made.train()
losses = [entry["loss"] for entry in made.state.log_history if "loss" in entry]
print(json.dumps(losses))
"""


@pytest.mark.slow
@pytest.mark.parametrize("format", TRL[:-1])
def test_a_trainer_of_trl_takes_a_step(format: str, dojo: Path, tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    export(dojo, format, file, Filters(suite=("made",)))
    (loss,) = ask(TRAIN, format, file, tiny, tmp_path / "out")
    assert 0 < loss < 100


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of two layers."""
    script = (
        "import json, sys\nfrom pathlib import Path\nfrom tests.finetune.conftest import save_tiny\n"
        "save_tiny(Path(sys.argv[1]))\nprint('0')"
    )
    folder = tmp_path_factory.mktemp("tiny")
    ask(script, folder)
    return folder


def installed(folder: Path, *requirements: str) -> str:
    """Packages without their dependencies, in a folder of their own; skips where there is no index.

    What is asked of them here needs little of what they name, and other releases of it than ours.
    """
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
    done = subprocess.run([*command, *requirements], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{requirements[0]} does not install: {done.stderr.strip()[-200:]}")
    return os.pathsep.join((str(folder), str(ROOT)))


ALONE = """
import importlib.util, json, sys, types
def alone(*names):
    # A package without what its __init__ loads: a trainer with other releases than ours.
    for name in names:
        module = types.ModuleType(name)
        module.__path__ = [sys.argv[1] + "/" + name.replace(".", "/")]
        sys.modules[name] = module
"""

CONVERT = (
    ALONE
    + """
alone("llamafactory", "llamafactory.data", "llamafactory.extras")
switches = sys.modules["llamafactory.extras.misc"] = types.ModuleType("misc")
switches.use_modelscope = switches.use_openmind = lambda: False
from llamafactory.data.converter import SharegptDatasetConverter
from llamafactory.data.parser import get_dataset_list
folder = sys.argv[2]
(attr,) = get_dataset_list(sys.argv[3:], folder)
convert = SharegptDatasetConverter(dataset_attr=attr, data_args=types.SimpleNamespace(media_dir=None))
rows = [json.loads(line) for line in open(folder + "/" + attr.dataset_name)]
print(json.dumps([convert(row) for row in rows]))
"""
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "name"),
    [
        ("llama-factory", "codojo_sft"),
        ("llama-factory-dpo", "codojo_dpo"),
        ("llama-factory-kto", "codojo_kto"),
    ],
)
def test_llama_factory_converts_every_row(
    format: str, name: str, dojo: Path, tmp_path: Path
) -> None:
    path = installed(tmp_path / "package", "llamafactory==0.9.5")
    rows = export(dojo, format, tmp_path / "out").exported.rows
    found = ask(CONVERT, tmp_path / "package", tmp_path / "out", name, PYTHONPATH=path)
    assert len(found) == rows
    for row in found:
        assert row["_prompt"] and row["_response"], "an empty prompt is a row it skipped"
        assert len(row["_response"]) == (1 if format == "llama-factory" else 2)
    with_tools = [row for row in found if row["_tools"]]
    assert json.loads(with_tools[0]["_tools"])[0]["name"] == "run_tests"


MASK = """
import json, sys
from axolotl.prompt_strategies.chat_template import StrategyLoader
from axolotl.utils.dict import DictDefault
from tests.finetune.conftest import make_tokenizer
tokenizer = make_tokenizer()
options = DictDefault(chat_template="tokenizer_default", sequence_len=2048, train_on_inputs=False)
data = DictDefault(field_messages="messages", roles_to_train=[], message_field_training="train",
                   train_on_eos="turn", chat_template="tokenizer_default")
strategy = StrategyLoader()(tokenizer, options, data)
found = []
for line in open(sys.argv[1]):
    made = strategy.tokenize_prompt(json.loads(line))
    learnt = [label for label in made["labels"] if label != -100]
    found.append({"learnt": tokenizer.decode(learnt), "first": tokenizer.decode(learnt[:1]),
                  "tokens": len(made["input_ids"])})
print(json.dumps(found))
"""


@pytest.mark.slow
def test_axolotl_masks_all_but_the_answer(dojo: Path, tmp_path: Path) -> None:
    path = installed(tmp_path / "package", "axolotl==0.19.0", "addict==2.4.0", "colorama==0.4.6")
    export(dojo, "axolotl", tmp_path / "rows.jsonl", Filters(suite=("made",)))
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    found = ask(MASK, tmp_path / "rows.jsonl", PYTHONPATH=path)
    for row, read in zip(rows, found, strict=True):
        wanted = row["messages"][-1]["content"] + "<|im_end|>"
        if read["first"] != "\n" and read["first"].startswith("\n"):
            wanted = (
                "\n" + wanted
            )  # one token holds the template's line end and the answer's beginning
        assert read["learnt"] == wanted
        assert read["tokens"] > len(read["learnt"]) / 8


def records(dojo: Path, format: str, folder: Path) -> list[dict[str, Any]]:
    """The rows of an export."""
    out = folder / "out" if formats()[format].is_folder else folder / "out.jsonl"
    export(dojo, format, out)
    file = out / "train.jsonl" if out.is_dir() else out
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize("format", ["sharegpt", "llama-factory", "llama-factory-kto"])
def test_the_sides_of_a_sharegpt_row_take_turns(format: str, dojo: Path, tmp_path: Path) -> None:
    """The rule of LLaMA-Factory 0.9.5, `SharegptDatasetConverter`."""
    for row in records(dojo, format, tmp_path):
        sides = [turn["from"] for turn in row["conversations"]]
        assert len(sides) % 2 == 0
        assert set(sides[0::2]) <= {"human", "observation"}
        assert set(sides[1::2]) <= {"gpt", "function_call"}
        assert isinstance(row["tools"], str) and isinstance(row["system"], str)


def test_a_dataset_info_names_each_part_and_its_columns(dojo: Path, tmp_path: Path) -> None:
    export(dojo, "llama-factory-dpo", tmp_path / "out", Filters(validation=0.15))
    info = json.loads((tmp_path / "out" / "dataset_info.json").read_text())
    assert info.keys() == {"codojo_dpo", "codojo_dpo_validation"}
    for entry in info.values():
        (row, *_) = [
            json.loads(line)
            for line in (tmp_path / "out" / entry["file_name"]).read_text().splitlines()
        ]
        assert entry["ranking"] is True and set(entry["columns"].values()) == set(row)


def test_axolotl_trains_on_the_answer_alone(dojo: Path, tmp_path: Path) -> None:
    """The documented rule: `message_field_training` names a boolean of each message."""
    for row in records(dojo, "axolotl", tmp_path):
        flags = [message["train"] for message in row["messages"]]
        assert flags == [False] * (len(flags) - 1) + [True]
        assert row["messages"][-1]["role"] == "assistant"
    assert all(isinstance(r.get("tools", ""), str) for r in records(dojo, "axolotl", tmp_path))


@pytest.mark.parametrize("format", ["openai-sft", "openai-preference"])
def test_openai_rows_follow_the_documented_rules(format: str, dojo: Path, tmp_path: Path) -> None:
    for row in records(dojo, format, tmp_path):
        asked = row["messages"] if format == "openai-sft" else row["input"]["messages"]
        answers = [row["preferred_output"], row["non_preferred_output"]] if "input" in row else []
        calls: set[str] = set()
        for message in [*asked, *(m for answer in answers for m in answer)]:
            for call in message.get("tool_calls", ()):
                assert isinstance(json.loads(call["function"]["arguments"]), dict)
                calls.add(call["id"])
            if message["role"] == "tool":
                assert message["tool_call_id"] in calls
            assert None not in message.values()
        assert [len(answer) for answer in answers] in ([], [1, 1])
        if format == "openai-sft":
            weights = [m["weight"] for m in asked if m["role"] == "assistant"]
            assert weights == [0] * (len(weights) - 1) + [1]
