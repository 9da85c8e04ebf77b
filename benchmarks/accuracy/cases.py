"""Cases of every declared set, as the toolkit asks them."""

import random
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import yaml

from benchmarks.accuracy.sets import PUBLIC, PublicGroup, PublicSet, Task
from qwen_allinone.eval import Case, LabelledRow, LabelledSet
from qwen_allinone.eval.data_file import read_records
from qwen_allinone.model import Noul
from qwen_allinone.model.language import language_of
from qwen_allinone.router import Route, shipped_routes
from qwen_allinone.router.question import route_question
from qwen_allinone.tools import IntentTool
from qwen_allinone.tools.sentiment import mood_question

FOLDER = Path(__file__).parents[1] / "sets"

T = TypeVar("T")
_OTHERS = 5
"""Candidates of an intent besides the right one."""


def written_cases(task: Task) -> list[Case]:
    """Return the cases of a task over the sets that ship and those beside this benchmark."""
    if task == "route":
        return [route_case(row) for row in LabelledSet.shipped("routes").rows]
    if task == "mood":
        return [mood_case(row) for row in LabelledSet.shipped("sentiment").rows]
    if task == "intent":
        return [intent_case(labelled_row(fields), fields["candidates"]) for fields in records("intents")]
    return [Case(labelled_row(fields), Noul(instructions=fields["question"])) for fields in records("yes_no")]


def missing(data: Path) -> list[str]:
    """Return the files of public sets that are not in the folder."""
    declared = [each.file for each in chain.from_iterable(group.sets for group in PUBLIC)]
    return [file for file in declared if not (data / f"{file}.jsonl.gz").is_file()]


def public_cases(group: PublicGroup, data: Path, learned: Collection[str]) -> dict[str, list[Case]]:
    """Return the cases of each set of a group that has any, none with a text that was learned."""
    found = {}
    for each in group.sets:
        pairs = [pair for pair in labelled_texts(each, data).items() if pair[0] not in learned]
        if pairs:
            found[f"{group.title}: {each.name}"] = list(_cases(group.task, drawn(pairs, group.most), pairs))
    return found


def _cases(task: Task, pairs: Sequence[tuple[str, str]], every: Sequence[tuple[str, str]]) -> Iterator[Case]:
    labels = sorted({label for _, label in every})
    for number, (text, label) in enumerate(pairs):
        row = LabelledRow(text, text, (label,), language_of(text))
        if task == "intent":
            yield intent_case(row, _candidates(label, labels, number))
        else:
            yield route_case(row) if task == "route" else mood_case(row)


def labelled_texts(chosen: PublicSet, data: Path) -> dict[str, str]:
    """Return the texts of a set with their labels, each text once."""
    found = {}
    for record in read_records(data / f"{chosen.file}.jsonl.gz"):
        fields = record.fields
        if all(fields[column] in values for column, values in chosen.where.items()):
            text = fields[chosen.column]
            text = _natural(text if isinstance(text, str) else text[0])  # a dialogue begins with a question
            label = chosen.label or chosen.label_map.get(fields["label"]) or fields["label"].replace("_", " ").lower()
            if text:
                found[text] = label
    return found


def _natural(text: str) -> str:
    """Undo the tokenisation of a corpus: ``it 's fine , really .`` becomes plain text again."""
    text = re.sub(r"\s+('(?:s|t|re|ve|ll|d|m)\b|n't\b)", r"\1", text)
    return re.sub(r"\s+([,.!?;:])", r"\1", text).strip()


def _candidates(right: str, labels: Sequence[str], seed: int) -> list[str]:
    """Return the right label and five others, sorted."""
    others = [label for label in labels if label != right]
    return sorted([right, *random.Random(seed).sample(others, _OTHERS)])


def route_case(row: LabelledRow, added: Iterable[Route] = ()) -> Case:
    """Ask for the route among the default ones and these."""
    return Case(row, route_question([*shipped_routes(), *added], language_of(row.text)))


def mood_case(row: LabelledRow) -> Case:
    """Ask whether the text is positive or negative."""
    question = mood_question(language_of(row.text))
    return Case(row, question, dict(zip(question.criteria, ("positive", "negative"), strict=True)))


def intent_case(row: LabelledRow, candidates: Sequence[str]) -> Case:
    """Ask for the candidate that the text wants."""
    return Case(row, IntentTool.question(language_of(row.text), list(candidates)))


def records(name: str) -> list[Mapping[str, Any]]:
    """Return the rows of a set beside this benchmark, as they stand."""
    return [record.fields for record in read_records(FOLDER / f"{name}.jsonl")]


def content(name: str) -> Any:
    """Return the content of a YAML file beside the sets."""
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


def digests() -> dict[str, str]:
    """Return the SHA-256 of each file beside this benchmark."""
    return {path.name: f"sha256:{sha256(path.read_bytes()).hexdigest()}" for path in sorted(FOLDER.iterdir())}


def labelled_row(fields: Mapping[str, Any]) -> LabelledRow:
    """Return a row with its language for a slice."""
    text, language = fields["text"], fields["language"]
    return LabelledRow(text, text, (fields["label"],), language, (f"language:{language}",))


def drawn(items: Sequence[T], most: int) -> list[T]:
    """Draw at most so many, always the same."""
    return random.Random(0).sample(items, min(most, len(items)))
