"""Whether options scored together, in one packed pass, have the likelihood that each has alone."""

from math import isfinite
from typing import TYPE_CHECKING, Any

from qwen_allinone.errors import RunError
from qwen_allinone.model.decisions.questions import Noul, Question
from qwen_allinone.model.prompt.language import language_of
from qwen_allinone.router.question import route_question
from qwen_allinone.router.route import builtin_routes
from qwen_allinone.tools.sentiment import intensity_question, mood_question

if TYPE_CHECKING:
    from qwen_allinone.model import SharedQwen

TEXTS = (
    "会议拖了两小时，毫无进展",
    "The hinge snapped on day three.",
    "帮我订一张明天去成都的票。",
    "省博物馆新展下周二开幕，展出宋代瓷器八十六件，其中二十件为首次公开。展览免费，但需提前一天网上预约。",
    "Why do people yawn?",
)


def packed_scoring(qwen: "SharedQwen") -> dict[str, Any]:
    """Score some questions about some texts both ways.

    ``packed`` is False for architectures whose options go on from clones of one reading instead.

    Raises:
        RunError: a likelihood is not finite.
    """
    largest, agreeing, decisions, options = 0.0, 0, 0, 0
    for text in TEXTS:
        questions = _questions(text)
        packed, alone = qwen.loglikelihoods(text, questions), qwen.loglikelihoods(text, questions, packed=False)
        for name in questions:
            one, other = packed[name], alone[name]
            if not all(map(isfinite, (*one.values(), *other.values()))):
                raise RunError(f"a log-likelihood is not finite for {text!r}; load the model in fp32")
            largest = max(largest, *(abs(one[option] - other[option]) for option in one))
            agreeing += max(one, key=one.__getitem__) == max(other, key=other.__getitem__)
            decisions += 1
            options += len(one)
    return {
        "packed": qwen.local.packs_branches,
        "texts": len(TEXTS),
        "options": options,
        "largest_difference": largest,
        "decisions": decisions,
        "agreeing": agreeing,
        "agree": agreeing == decisions,
    }


def _questions(text: str) -> dict[str, Question]:
    language = language_of(text)
    return {
        "mood": mood_question(language),
        "route": route_question(builtin_routes(), language),
        "intensity": intensity_question(language),
        "request": Noul(instructions="要求做一件事吗？" if language == "zh" else "Is something requested?"),
    }
