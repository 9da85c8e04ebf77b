"""``python -m training.heads``: fit the default decisions on the bundled model, into its folder.

Run it after ``training`` and after ``training.decision_examples``: a head counts for the weights and the examples that
it was fitted with, and for no others.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, get_args

import typer

from qwen_allinone.model import Question, SharedQwen
from qwen_allinone.model.decisions.decision import Method
from qwen_allinone.model.engine.local.engine import LocalEngine
from qwen_allinone.model.prompt.language import Language
from qwen_allinone.model.weights.loading import BUNDLED, bundled_folder
from qwen_allinone.router import builtin_routes, route_question
from qwen_allinone.tools import IntentTool
from qwen_allinone.tools.sentiment import intensity_question, mood_question

METHODS: Mapping[str, Method] = {"route": "learned", "mood": "scored", "intensity": "learned", "intent": "learned"}
"""Better way of the bundled model, on the sets that ship; it was trained on the moods, so out of fold says nothing."""


def main(*, out: Annotated[Path | None, typer.Option(help="By default inside the package.")] = None) -> None:
    """Fit the heads of the default questions, in place of those that are there."""
    out = out or bundled_folder() / "heads"
    shared = SharedQwen.load(BUNDLED).local
    engine = LocalEngine(shared.model, shared.tokenizer, capabilities=shared.capabilities)  # without earlier heads
    with TemporaryDirectory() as folder:
        os.environ["QWEN_ALLINONE_CACHE"] = folder
        learner = SharedQwen(engine).learner
        for name, question in default_questions():
            report = learner.fit([question], method=METHODS[name])[0]
            typer.echo(f"{name}: {report}")
        out.mkdir(exist_ok=True)
        for earlier in out.glob("*.safetensors"):
            earlier.unlink()
        for head in Path(folder).rglob("*.safetensors"):
            if head.name != "features.safetensors":
                (out / head.name).write_bytes(head.read_bytes())


def default_questions() -> list[tuple[str, Question]]:
    """Return the questions of the default assistant, in both languages."""
    found: list[tuple[str, Question]] = []
    for language in get_args(Language):
        found += [
            ("route", route_question(builtin_routes(), language)),
            ("mood", mood_question(language)),
            ("intensity", intensity_question(language)),
            ("intent", IntentTool.question(language)),
        ]
    return found


if __name__ == "__main__":
    typer.run(main)
