"""Declared sets of decisions: rows, question, floor and target of each."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.accuracy.figure import Floor, Target

Task = Literal["route", "mood", "intent", "yes or no"]
FloorKind = Floor | Literal["n-grams"] | None
"""N-grams are fitted on what the model learned; None is the commonest label."""
CHANCE = Floor(1 / 6, "chance, one of six")
"""An intent has six candidates."""


@dataclass(frozen=True)
class WrittenSet:
    """Rows written for this project, reported with each slice and the calibration."""

    task: Task
    floor: FloorKind
    targets: Mapping[str, Target] = field(default_factory=dict)
    """Name of a figure to its target."""


WRITTEN = (
    WrittenSet("route", "n-grams", {"route": Target(0.88)}),
    WrittenSet("mood", "n-grams", {"mood: zh": Target(0.85), "mood: en": Target(0.80)}),
    WrittenSet("intent", CHANCE, {"intent": Target(0.50)}),
    WrittenSet("yes or no", None),
)


@dataclass(frozen=True)
class PublicSet:
    """Rows of a public data set that took no part in the training."""

    name: str
    file: str
    """Below the data folder, without its suffix."""
    where: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Column to the values of the rows that are taken."""
    column: str = "text"
    label: str | None = None
    """Label of all rows; None: that of their column ``label``."""
    label_map: Mapping[str, str] = field(default_factory=dict)
    """Label of a row to the words for it."""
    target: Target | None = None
    """None: that of the group."""


@dataclass(frozen=True)
class PublicGroup:
    """Public sets that are reported together."""

    title: str
    task: Task
    most: int
    """Rows of each set."""
    sets: tuple[PublicSet, ...]
    floor: FloorKind = "n-grams"
    target: Target | None = None
    beats_floor: bool = False
    """True if the target is never below the floor."""
    summed: bool = False
    """True if there is a figure over all of the sets."""


_SMP_WORDS = {
    "weather": "天气", "train": "火车", "message": "短信", "music": "音乐", "health": "健康", "translation": "翻译"
}  # fmt: skip
_CLINC_LABELS = frozenset(
    {"alarm", "book_hotel", "calories", "change_language", "damaged_card", "directions", "exchange_rate", "insurance"}
    | {"lost_luggage", "oil_change_when", "play_music", "recipe", "report_fraud", "roll_dice", "schedule_meeting"}
    | {"shopping_list", "spelling", "taxes", "tire_pressure", "vaccines"}
)
_READ_CATEGORIES = frozenset({"平板", "手机", "水果", "洗发水", "衣服", "计算机"})

PUBLIC = (
    PublicGroup(
        "mood, unseen",
        "mood",
        600,
        (
            PublicSet("eprstmt", "sentiment/zh_eprstmt"),
            *(PublicSet(name, "sentiment/zh_shopping", {"cat": {name}}) for name in ("蒙牛", "热水器", "书籍")),
            PublicSet("notebook", "sentiment/zh_products4", {"cat": {"notebook"}}),
        ),
        target=Target(0.86),
        beats_floor=True,
        summed=True,
    ),
    PublicGroup(
        "mood, seen source, unseen rows",
        "mood",
        600,
        (
            PublicSet("sst2 dev", "sentiment/en_sst2", {"split": {"dev"}}, target=Target(0.81)),
            PublicSet("shopping", "sentiment/zh_shopping", {"cat": _READ_CATEGORIES}, target=Target(0.94)),
        ),
    ),
    PublicGroup(
        "intent, unseen labels",
        "intent",
        400,
        (
            PublicSet("clinc150", "intent/en_clinc150", {"label": _CLINC_LABELS}),
            PublicSet("smp2017", "intent/zh_smp2017", {"label": set(_SMP_WORDS)}, label_map=_SMP_WORDS),
            PublicSet("banking77", "intent/en_banking77"),
        ),
        floor=CHANCE,
        target=Target(0.50),
    ),
    PublicGroup(
        "route, unseen",
        "route",
        150,
        (
            PublicSet("eprstmt", "sentiment/zh_eprstmt", label="sentiment"),
            PublicSet("书籍", "sentiment/zh_shopping", {"cat": {"书籍"}}, label="sentiment"),
            PublicSet("chatterbot zh questions", "chat/zh_chatterbot", column="dialogue", label="chat"),
            PublicSet(
                "smp2017 train, message, music",
                "intent/zh_smp2017",
                {"label": {"train", "message", "music"}},
                label="intent",
            ),
            PublicSet("snips AddToPlaylist", "intent/en_snips", {"label": {"AddToPlaylist"}}, label="intent"),
        ),
        target=Target(0.90),
        summed=True,
    ),
    PublicGroup(
        "route, seen source or its translation",
        "route",
        150,
        (
            PublicSet("csl abstracts", "summary/zh_csl_title_dev", label="summary"),
            PublicSet("xquad zh paragraphs", "retrieval/zh_xquad", column="context", label="summary"),
            PublicSet("xquad zh questions", "retrieval/zh_xquad", column="question", label="chat"),
        ),
        summed=True,
    ),
)
