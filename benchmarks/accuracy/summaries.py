"""Summaries: whether the one sentence that is picked is the one that says most of what the title says."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.accuracy.figure import Figure, Floor
from benchmarks.accuracy.task import drawn
from qwen_allinone.eval.metrics import Proportion
from qwen_allinone.model import SharedQwen
from qwen_allinone.tools import SummaryTool
from qwen_allinone.tools.sentences import split_sentences
from training.public_sets import bigram_share, rows_of

_MOST = 150
"""Abstracts."""
_SENTENCES = range(3, 9)


def figures(qwen: SharedQwen, data: Path) -> list[Figure]:
    """Abstracts of a source of which other rows were trained on: the tool as it is, and with sentences weighed."""
    abstracts = drawn(_abstracts(data), _MOST)
    first = sum(sentences[0] in best for sentences, best in abstracts)
    floor = Floor(first / len(abstracts), "the first sentence")
    weighing = SharedQwen(
        qwen.model, qwen.tokenizer, capabilities=qwen.capabilities.model_copy(update={"summary": "extractive"})
    )
    what = "summary, seen source, unseen rows: the sentence of an abstract nearest to its title"
    return [
        Figure.of(
            f"{what}, {how}",
            Proportion(_hits(SummaryTool(qwen=each, max_sentences=1), abstracts), len(abstracts)),
            floor=floor,
        )
        for how, each in (("as the tool gives it", qwen), ("as the model weighs them", weighing))
    ]


def _hits(tool: SummaryTool, abstracts: Sequence[tuple[list[str], list[str]]]) -> int:
    return sum(tool.invoke("".join(sentences)).text in best for sentences, best in abstracts)


def _abstracts(data: Path) -> list[tuple[list[str], list[str]]]:
    """The sentences of each abstract, and those that share most pairs of characters with its title."""
    found = []
    for row in rows_of(data / "summary" / "zh_csl_title_dev.jsonl.gz"):
        sentences = split_sentences(row["text"])
        shares = [bigram_share(row["summary"], sentence) for sentence in sentences]
        if len(sentences) in _SENTENCES and 0 < max(shares) != min(shares):
            best = [sentence for sentence, share in zip(sentences, shares, strict=True) if share == max(shares)]
            found.append((sentences, best))
    return found
