"""``python -m training --data DIR``: train the bundled model, tokenizer included."""

import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, cast

import torch
import typer
from transformers import Qwen2ForCausalLM

from qwen_allinone.eval.labelled_set import LabelledSet
from qwen_allinone.eval.overlap import overlapping
from qwen_allinone.model import loading
from qwen_allinone.model.capabilities import Capabilities
from qwen_allinone.model.chatml import ChatML
from qwen_allinone.model.loading import bundled_folder
from qwen_allinone.model.shared import SharedQwen
from qwen_allinone.router.question import route_question
from qwen_allinone.router.route import shipped_routes
from qwen_allinone.tools.sentiment import by_polarity, mood_question
from training import cooccurrence, tokenizer
from training.leanings import add_leanings
from training.lessons import Teacher, prompt_words
from training.sources import Item, Source, hold_out, shared, texts_of, written
from training.train import SIZES, Size, new_model, train

_VALIDATION_SHARE = 0.04
_TEXT_TOKENS, _READ_TOKENS = 112, 160
"""The longest text of a lesson, and what the trained model declares to read at once."""
_CAPABILITIES = Capabilities(layout="text_first", summary="extractive", reading_tokens=_READ_TOKENS)
_WINDOW = 5
"""Tokens to each side that count as company when the embedding is started."""
_PROMPT_REPEATS = 300
"""How often the prompts count when merges are learned, so that their words are short to read and quick to answer."""


def main(
    *,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the public data sets; without it, the written examples only.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the model goes; by default into the package.")] = None,
    size: Annotated[str, typer.Option(help=f"One of {', '.join(SIZES)}.")] = "small",
    tokens: Annotated[int | None, typer.Option(help="Tokens of each phase, instead of the size's own.")] = None,
    threads: Annotated[int, typer.Option(help="Threads for torch.")] = 2,
    start: Annotated[
        Path | None, typer.Option(help="Continue from this model with the last phase, replies, only.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
) -> None:
    """Train tokenizer and model, and write them in the form in which they ship."""
    torch.set_num_threads(threads)
    folder = out or bundled_folder()
    folder.mkdir(parents=True, exist_ok=True)
    shape = SIZES[size]
    if tokens is not None:
        shape = replace(shape, phases=tuple(replace(phase, tokens=tokens) for phase in shape.phases))
    examples, held = hold_out(written(), _VALIDATION_SHARE)
    sources = _without_evaluation_rows([*examples, *(shared(data) if data else [])])
    _say({"rows": {source.name: len(source.items) for source in sources}, "held out": len(held)})

    qwen = _started(shape, sources, folder, seed=seed) if start is None else _loaded(start, folder)
    phases = shape.phases if start is None else shape.phases[1:]
    replies = [item for source in sources for item in source.items if item.reply is not None]
    teacher = Teacher(qwen.chat, replies, text_tokens=_TEXT_TOKENS)
    for phase in phases:
        train(
            cast(Qwen2ForCausalLM, qwen.model),
            teacher,
            sources,
            phase,
            batch_tokens=shape.batch,
            seed=seed,
            log=_say,
            check=lambda: _say(_checkpoint(qwen, held, folder)),
        )
    _say(_checkpoint(qwen, held, folder))


def _started(shape: Size, sources: Sequence[Source], folder: Path, *, seed: int) -> SharedQwen:
    """A new tokenizer, and a new model whose embedding starts from what the texts tell."""
    texts = list(texts_of(sources))
    random.Random(seed).shuffle(texts)
    corpus = [*texts, *prompt_words() * _PROMPT_REPEATS]
    words = tokenizer.save(tokenizer.train(corpus, size=shape.vocabulary), folder, window=shape.window)
    chat = ChatML(words)
    vectors = cooccurrence.token_vectors(
        (chat.encode(text) for text in texts), size=shape.vocabulary, width=shape.width, window=_WINDOW, seed=seed
    )
    add_leanings(vectors, chat, sources, seed=seed)
    torch.manual_seed(seed)
    model = new_model(shape, torch.from_numpy(vectors), stop=chat.end_of_turn, pad=chat.stop_ids[-1])
    _say({"parameters": sum(weight.numel() for weight in model.parameters()), "characters": sum(map(len, texts))})
    return SharedQwen(model, words, name="in training", capabilities=_CAPABILITIES)


def _loaded(start: Path, folder: Path) -> SharedQwen:
    """A model whose decisions were trained before; its tokenizer goes into the new folder with it."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if not (folder / name).exists() or not (folder / name).samefile(start / name):
            shutil.copy(start / name, folder / name)
    found = loading.load(loading.resolve(str(start)), device="cpu")
    return SharedQwen(found.model, found.tokenizer, name="in training", capabilities=_CAPABILITIES)


def _checkpoint(qwen: SharedQwen, held: Sequence[Item], folder: Path) -> dict[str, str]:
    """Write the model as it is now, in the form in which it ships, and say how well it decides."""
    qwen.model.eval()  # type: ignore[no-untyped-call]
    accuracy = _accuracy(qwen, held)
    tied = {"lm_head.weight"}
    weights = {name: weight.half() for name, weight in qwen.model.state_dict().items() if name not in tied}
    qwen.model.save_pretrained(folder, state_dict=weights, safe_serialization=True)
    (folder / "capabilities.json").write_text(qwen.capabilities.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return accuracy


def _without_evaluation_rows(sources: Sequence[Source]) -> list[Source]:
    """Drop every row that shares a run of words with a row of the shipped evaluation sets."""
    rows = [row for name in ("sentiment", "routes") for row in LabelledSet.shipped(name).rows]
    kept = []
    for source in sources:
        texts = [item.text for item in source.items]
        replies = [item.reply or "" for item in source.items]
        dropped = {overlap.index for column in (texts, replies) for overlap in overlapping(rows, column)}
        items = [item for index, item in enumerate(source.items) if index not in dropped]
        kept.append(Source(source.name, source.share, items))
    return [source for source in kept if source.items]


def _accuracy(qwen: SharedQwen, held: Sequence[Item]) -> dict[str, str]:
    """Share of held-out written rows decided rightly, per question and language."""
    qwen.forget()
    tallies: dict[str, list[bool]] = {}
    for item in held:
        if item.source == "inputs":
            route = qwen.decide(item.text, {"route": route_question(shipped_routes(), item.language)})["route"]
            tallies.setdefault(f"route {item.language}", []).append(route.option in item.routes)
        if item.mood in ("positive", "negative"):
            mood = qwen.decide(item.text, {"mood": mood_question(item.language)})["mood"]
            tallies.setdefault(f"mood {item.language}", []).append(by_polarity(mood).option == item.mood)
    return {name: f"{sum(hits) / len(hits):.3f} of {len(hits)}" for name, hits in sorted(tallies.items())}


def _say(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    typer.run(main)
