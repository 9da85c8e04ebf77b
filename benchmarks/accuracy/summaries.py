"""Summaries of one sentence, right if no other sentence says more of the title."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from benchmarks.accuracy.cases import drawn
from benchmarks.accuracy.figure import Figure, Floor
from qwen_allinone.eval.data_file import read_records
from qwen_allinone.eval.metrics import Proportion
from qwen_allinone.model import SharedQwen
from qwen_allinone.tools import SummaryTool
from qwen_allinone.tools.sentences import split_sentences

_MOST = 150
"""Abstracts."""
_SENTENCES = range(3, 9)


def figures(qwen: SharedQwen, data: Path) -> list[Figure]:
    """Summarise abstracts beside those that were trained on: as the tool does, and with sentences weighed."""
    abstracts = drawn(_abstracts(data), _MOST)
    first = sum(sentences[0] in best for sentences, best in abstracts)
    floor = Floor(first / len(abstracts), "the first sentence")
    weighing = SharedQwen(
        qwen.model, qwen.tokenizer, capabilities=qwen.capabilities.model_copy(update={"summary": "extractive"})
    )
    what = "summary, seen source, unseen rows: the sentence of an abstract nearest to its title"
    return [
        Figure.from_share(
            f"{what}, {how}",
            Proportion(_hits(SummaryTool(qwen=each, max_sentences=1), abstracts), len(abstracts)),
            floor=floor,
        )
        for how, each in (("as the tool gives it", qwen), ("as the model weighs them", weighing))
    ]


def _hits(tool: SummaryTool, abstracts: Sequence[tuple[list[str], list[str]]]) -> int:
    return sum(tool.invoke("".join(sentences)).text in best for sentences, best in abstracts)


def _abstracts(data: Path) -> list[tuple[list[str], list[str]]]:
    """Return the sentences of each abstract, and those that share most pairs of characters with its title."""
    found = []
    for record in read_records(data / "summary" / "zh_csl_title_dev.jsonl.gz"):
        sentences = split_sentences(record.fields["text"])
        pairs = {"".join(pair) for pair in pairwise(record.fields["summary"])}
        shares = [_shared(pairs, sentence) for sentence in sentences]
        if len(sentences) in _SENTENCES and 0 < max(shares) != min(shares):
            best = [sentence for sentence, share in zip(sentences, shares, strict=True) if share == max(shares)]
            found.append((sentences, best))
    return found


def _shared(pairs: set[str], sentence: str) -> int:
    """Count the pairs of characters that occur in the sentence."""
    return sum(pair in sentence for pair in pairs)
