"""Mood, intent and route on texts from data sets, categories, labels and rows that were kept out of the training."""

import random
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.accuracy import held_out
from benchmarks.accuracy.figure import Figure, Target, accuracy_figure
from benchmarks.accuracy.linear import LinearClassifier
from benchmarks.accuracy.shipped import CHANCE, INTENT
from benchmarks.accuracy.task import drawn, mood_task, route_task
from benchmarks.accuracy.training_rows import Labelled, mood_rows, route_rows, written_sources
from qwen_allinone.eval import LabelledRow, Sample
from qwen_allinone.eval.metrics import Proportion
from qwen_allinone.model import SharedQwen
from qwen_allinone.tools import IntentTool
from training.public_sets import HELD_OUT, SMP_WORDS, VALIDATION_SHARE, public, spoken
from training.sources import Item, Source, hold_out

_MOODS, _INTENTS, _ROUTES = 600, 400, 150
"""The most rows of a set."""
_OTHERS = 5
"""Candidates besides the right one."""
_SHOPPING = "mood, seen source, unseen rows: shopping"
_MOOD_TARGETS = {
    "mood, seen source, unseen rows: sst2 dev": Target(0.81),
    _SHOPPING: Target(0.94),
}
_UNSEEN_MOOD = 0.86
_ROUTE = Target(0.90)


def figures(qwen: SharedQwen, data: Path) -> list[Figure]:
    """All of it."""
    return [*mood_figures(qwen, data), *intent_figures(qwen, data), *route_figures(qwen, data)]


def mood_figures(qwen: SharedQwen, data: Path) -> list[Figure]:
    """Each set, and those together whose source the training never read."""
    sources, held = hold_out(public(data), VALIDATION_SHARE)
    learnt = mood_rows([*sources, *written_sources()])
    unseen = _rows(_unseen_moods(data), {text for text, _ in learnt})
    rows = {what: mood_task(qwen, part).samples(qwen) for what, part in unseen.items()}
    together = {"mood, unseen: all": [sample for samples in rows.values() for sample in samples]}
    seen = _rows(_seen_moods(data, held), set())
    rows |= together | {what: mood_task(qwen, part).samples(qwen) for what, part in seen.items()}
    linear = LinearClassifier(learnt)
    return [mood_figure(what, samples, linear) for what, samples in rows.items()]


def mood_figure(what: str, samples: Sequence[Sample], linear: LinearClassifier) -> Figure:
    """The accuracy; on what was never read the target is that of unseen reviews, and never below the floor."""
    floor = linear.floor([sample.row for sample in samples])
    unseen = Target(max(_UNSEEN_MOOD, floor.value)) if what.startswith("mood, unseen") else None
    return accuracy_figure(what, samples, floor=floor, target=_MOOD_TARGETS.get(what, unseen))


def intent_figures(qwen: SharedQwen, data: Path) -> list[Figure]:
    """Requests whose labels the training never saw, among six of them, asked through the intent tool."""
    return [
        intent_figure(qwen, f"intent, unseen labels: {what}", pairs) for what, pairs in _unseen_intents(data).items()
    ]


def intent_figure(qwen: SharedQwen, what: str, pairs: Sequence[Labelled]) -> Figure:
    """How often the tool picks the right label among itself and five others."""
    tool, labels = IntentTool(qwen=qwen), sorted({label for _, label in pairs})
    hits = [
        tool.invoke({"text": text, "candidates": candidates(label, labels, number)}).label == label
        for number, (text, label) in enumerate(drawn(pairs, _INTENTS))
    ]
    return Figure.of(what, Proportion(sum(hits), len(hits)), floor=CHANCE, target=INTENT)


def candidates(right: str, labels: Sequence[str], seed: int) -> list[str]:
    """The right label and five others, sorted."""
    others = [label for label in labels if label != right]
    return sorted([right, *random.Random(seed).sample(others, _OTHERS)])


def route_figures(qwen: SharedQwen, data: Path) -> list[Figure]:
    """Each set, and all of them together; apart from them those of which another part was trained on."""
    linear = LinearClassifier(route_rows([*hold_out(public(data), VALIDATION_SHARE)[0], *written_sources()]))
    found = []
    for title, sets, target in (
        ("route, unseen", _unseen_routes(data), _ROUTE),
        ("route, seen source or its translation", _near_routes(data), None),
    ):
        samples = {
            f"{title}: {what}": route_task(
                qwen, held_out.rows((text, route) for text in drawn(texts, _ROUTES))
            ).samples(qwen)
            for (what, route), texts in sets.items()
        }
        samples[f"{title}: all"] = [sample for part in samples.values() for sample in part]
        found += [
            accuracy_figure(what, part, floor=linear.floor([sample.row for sample in part]), target=target)
            for what, part in samples.items()
        ]
    return found


def _rows(sets: Mapping[str, Sequence[Labelled]], known: set[str]) -> dict[str, list[LabelledRow]]:
    """Rows of each set that has any, none of them with a text that is known."""
    fresh = {what: [pair for pair in pairs if pair[0] not in known] for what, pairs in sets.items()}
    return {what: held_out.rows(drawn(pairs, _MOODS)) for what, pairs in fresh.items() if pairs}


def _unseen_moods(data: Path) -> dict[str, list[Labelled]]:
    shopping = partial(held_out.labelled, data, "sentiment/zh_shopping")
    return {
        "mood, unseen: eprstmt": held_out.labelled(data, "sentiment/zh_eprstmt"),
        "mood, unseen: 蒙牛": shopping(cat={"蒙牛"}),
        "mood, unseen: 热水器": shopping(cat={"热水器"}),
        "mood, unseen: 书籍": shopping(cat={"书籍"}),
        "mood, unseen: notebook": held_out.labelled(data, "sentiment/zh_products4", cat={"notebook"}),
    }


def _seen_moods(data: Path, held: Sequence[Item]) -> dict[str, list[Labelled]]:
    return {
        "mood, seen source, unseen rows: sst2 dev": held_out.labelled(data, "sentiment/en_sst2", split={"dev"}),
        _SHOPPING: mood_rows([Source("shopping", 1, [item for item in held if item.source == "shopping"])]),
    }


def _unseen_intents(data: Path) -> dict[str, list[Labelled]]:
    clinc = HELD_OUT["intent/en_clinc150"][1] - {"oos"}
    smp = held_out.labelled(data, "intent/zh_smp2017", label=set(SMP_WORDS))
    return {
        "clinc150": _spoken(held_out.labelled(data, "intent/en_clinc150", label=clinc)),
        "smp2017": [(text, SMP_WORDS[label]) for text, label in smp],
        "banking77": _spoken(held_out.labelled(data, "intent/en_banking77")),
    }


def _near_routes(data: Path) -> dict[tuple[str, str], list[str]]:
    """Other rows of a source that was trained on, and the Chinese of texts whose English was."""
    texts = partial(held_out.texts, data)
    return {
        ("csl abstracts", "summary"): texts("summary/zh_csl_title_dev", "text"),
        ("xquad zh paragraphs", "summary"): texts("retrieval/zh_xquad", "context"),
        ("xquad zh questions", "chat"): texts("retrieval/zh_xquad", "question"),
    }


def _unseen_routes(data: Path) -> dict[tuple[str, str], list[str]]:
    """Texts by set and by the one route that they belong to."""
    texts = partial(held_out.texts, data)
    return {
        ("eprstmt", "sentiment"): texts("sentiment/zh_eprstmt", "text"),
        ("书籍", "sentiment"): texts("sentiment/zh_shopping", "text", cat={"书籍"}),
        ("chatterbot zh questions", "chat"): held_out.first_turns(data, "chat/zh_chatterbot"),
        ("smp2017 train, message, music", "intent"): texts(
            "intent/zh_smp2017", "text", label={"train", "message", "music"}
        ),
        ("snips AddToPlaylist", "intent"): texts("intent/en_snips", "text", label={"AddToPlaylist"}),
    }


def _spoken(pairs: Sequence[Labelled]) -> list[Labelled]:
    """With the labels as words."""
    return [(text, spoken(label)) for text, label in pairs]
