"""Whether options scored together, in one packed pass, have the likelihood that each has alone."""

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from qwen_allinone.errors import RunError
from qwen_allinone.model.branches import Branch
from qwen_allinone.model.chatml import Message
from qwen_allinone.model.language import language_of
from qwen_allinone.model.prefix_cache import PrefixCache
from qwen_allinone.model.questions import Noul, Question, render_question
from qwen_allinone.model.scorer import Scorer
from qwen_allinone.router.question import route_question
from qwen_allinone.router.route import shipped_routes
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

    ``packed`` is False for architectures whose options are always scored one by one: there is nothing to compare.

    Raises:
        RunError: a likelihood is not finite.
    """
    scorer = Scorer(qwen.model, PrefixCache())
    largest, agreeing, decisions, options = 0.0, 0, 0, 0
    for text in TEXTS:
        prefix, branches = _laid_out(qwen, text)
        packed, alone = scorer.score(prefix, branches), scorer.score_one_by_one(prefix, branches)
        for one, other in zip(packed, alone, strict=True):
            if not all(map(isfinite, (*one, *other))):
                raise RunError(f"a log-likelihood is not finite for {text!r}; load the model in fp32")
            largest = max(largest, *(abs(a - b) for a, b in zip(one, other, strict=True)))
            agreeing += _best(one) == _best(other)
            decisions += 1
            options += len(one)
    return {
        "packed": scorer.packs,
        "texts": len(TEXTS),
        "options": options,
        "largest_difference": largest,
        "decisions": decisions,
        "agreeing": agreeing,
        "agree": agreeing == decisions,
    }


def _laid_out(qwen: "SharedQwen", text: str) -> tuple[list[int], list[Branch]]:
    language = language_of(text)
    questions: tuple[Question, ...] = (
        mood_question(language),
        route_question(shipped_routes(), language),
        intensity_question(language),
        Noul(instructions="要求做一件事吗？" if language == "zh" else "Is something requested?"),
    )
    return qwen.chat.turns([Message("user", text)]), [_branch(qwen, render_question(q, language)) for q in questions]


def _branch(qwen: "SharedQwen", question: Any) -> Branch:
    stem = (*qwen.chat.turn(Message("system", question.text)), *qwen.chat.opening())
    leaves = tuple((*qwen.chat.encode(words), qwen.chat.end_of_turn) for words in question.options.values())
    return Branch(stem, leaves)


def _best(scores: Sequence[float]) -> int:
    return max(range(len(scores)), key=scores.__getitem__)
