"""The question that picks a route."""

from collections.abc import Sequence

from qwen_allinone.model.decisions.questions import Choice
from qwen_allinone.model.prompt.language import Language
from qwen_allinone.model.prompt.prompt_file import PromptFile
from qwen_allinone.router.route import Route

_PROMPT = PromptFile.load("qwen_allinone.router", "route")


def route_question(routes: Sequence[Route], language: Language) -> Choice:
    """Which of the routes should handle the input, by their names and descriptions."""
    return Choice(
        instructions=_PROMPT.render(language, "instructions"),
        criteria={route.name: route.described(language) for route in routes},
    )
