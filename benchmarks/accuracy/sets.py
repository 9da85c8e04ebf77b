"""The hand-written sets of the benchmarks."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from benchmarks.accuracy.task import Exercise
from qwen_allinone.eval import LabelledRow
from qwen_allinone.eval.data_file import read_records
from qwen_allinone.model import Noul

FOLDER = Path(__file__).parents[1] / "sets"


def records(name: str) -> list[Mapping[str, Any]]:
    """The rows of a set, as they stand."""
    return [record.fields for record in read_records(FOLDER / f"{name}.jsonl")]


def content(name: str) -> Any:
    """What a YAML file beside the sets holds."""
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


def digests() -> dict[str, str]:
    """File name to the SHA-256 of the file."""
    return {path.name: f"sha256:{sha256(path.read_bytes()).hexdigest()}" for path in sorted(FOLDER.iterdir())}


def labelled(fields: Mapping[str, Any], number: int) -> LabelledRow:
    """A row with its language for a slice."""
    language = fields["language"]
    return LabelledRow(str(number), fields["text"], (fields["label"],), language, (f"language:{language}",))


def intents() -> list[Exercise]:
    """Requests with six candidates each, none of them a label that was trained on."""
    return [
        Exercise.intent(labelled(fields, number), fields["candidates"])
        for number, fields in enumerate(records("intents"), start=1)
    ]


def yes_no() -> list[Exercise]:
    """Texts with a question that yes or no answers."""
    return [
        Exercise(labelled(fields, number), Noul(instructions=fields["question"]))
        for number, fields in enumerate(records("yes_no"), start=1)
    ]
