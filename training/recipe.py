"""The recipe: from labelled texts to a tokenizer and a model that decides and replies."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PreTrainedTokenizerBase, Qwen2ForCausalLM

from qwen_allinone.model import loading
from qwen_allinone.model.capabilities import Capabilities
from qwen_allinone.model.chatml import ChatML
from qwen_allinone.model.shared import SharedQwen
from training import bag_of_words, cooccurrence, grammar, initialisation, tokenizer
from training.curriculum import Curriculum
from training.example_builder import ExampleBuilder
from training.exclusions import Exclusions
from training.phases import Phase, phases
from training.prompts import prompt_words
from training.public_sets import VALIDATION_SHARE, public, unseen
from training.run_folder import RunFolder
from training.sizes import Size
from training.sources import Item, Source, hold_out, texts_of
from training.topics import topics
from training.train import Training
from training.written import written

_VALIDATION_SHARE = 0.04
"""Share of the written texts that is held out."""
_TEXT_TOKENS, _READ_TOKENS = 112, 160
"""Tokens of the longest text of an example, and of the longest that the trained model declares to read at once."""
_CAPABILITIES = Capabilities(
    layout="text_first",
    summary="leading",
    recall="quoted",
    reading_tokens=_READ_TOKENS,
    per_token=True,
    prior=True,
)
_WINDOW = 5
"""Tokens to each side that count as context when the embedding is started."""
_PROMPT_REPEATS = 300
"""Times that the prompts count when merges are learned, so that their words are short to read and quick to answer."""


def train(
    size: Size,
    folder: RunFolder,
    *,
    data: Path | None,
    exclusions: Exclusions,
    threads: int,
    resume: bool,
    seed: int,
) -> None:
    """Train all phases, from their beginning or from where the folder has them.

    Args:
        size: shape of the model and lengths of the phases.
        folder: takes log, curves, checkpoints and the model.
        data: folder of the public data sets; None: the written texts only.
        exclusions: what the model is judged by.
        threads: parts of a step computed side by side.
        resume: whether the folder holds a training to be continued.
        seed: of everything random.
    """
    sources, held = learned_and_held(data, exclusions, seed=seed)
    rows = {source.name: len(source.items) for source in sources}
    folder.begin({"seed": seed, "rows": rows}, resume=resume)
    folder.log({"rows": rows, "held out": len(held)})
    qwen = _loaded(folder.path) if resume else _started(size, sources, folder.path, seed=seed)
    builder = ExampleBuilder(qwen.chat, [item for source in sources for item in source.items], text_tokens=_TEXT_TOKENS)
    model, before = cast(Qwen2ForCausalLM, qwen.model), 0
    for phase in phases(size, sources):
        training = Training(model, phase.schedule, learners=phase.learners, seed=seed, threads=threads)
        curriculum = Curriculum(builder, phase.sources, stages=phase.stages, step_tokens=phase.schedule.step, seed=seed)
        _train_phase(phase, training, curriculum, qwen.tokenizer, held, folder=folder, before=before)
        before += phase.schedule.tokens


def learned_and_held(data: Path | None, exclusions: Exclusions, *, seed: int) -> tuple[list[Source], list[Item]]:
    """Return what is trained on, and what validates: shares of the texts, and the public categories held out."""
    examples, held = hold_out(written(), _VALIDATION_SHARE)
    sets, public_held = hold_out(public(data) if data else [], VALIDATION_SHARE)
    sources = [*examples, *grammar.drawn(seed=seed), *sets]
    learned = exclusions.applied_to([*sources, topics(sources, seed=seed)])
    return learned, [*held, *public_held, *(unseen(data) if data else [])]


def _train_phase(
    phase: Phase,
    training: Training,
    curriculum: Curriculum,
    words: PreTrainedTokenizerBase,
    held: Sequence[Item],
    *,
    folder: RunFolder,
    before: int,
) -> None:
    """Train one phase, from its checkpoint or from its beginning."""
    checkpoint = folder.checkpoint(phase.name)
    if checkpoint.is_file():
        training.take_up(checkpoint)

    def log(values: dict[str, Any]) -> None:
        folder.log({"tokens": before + training.progress.seen, **values})

    def check() -> None:
        with training.averaged():
            now = in_training(training.model, words)
            _save(now, folder.path)
            log(phase.examined(now, held))
        training.keep(checkpoint)
        folder.draw_curves()

    if training.progress.share < 1:
        training.run(curriculum, log=log, check=check)
        check()


def _started(size: Size, sources: Sequence[Source], folder: Path, *, seed: int) -> SharedQwen:
    """Make a new tokenizer, and a new model whose embedding starts from what the texts tell."""
    texts = list(texts_of(sources))
    random.Random(seed).shuffle(texts)
    corpus = [*texts, *prompt_words() * _PROMPT_REPEATS]
    words = tokenizer.save(tokenizer.train(corpus, size=size.vocabulary), folder, window=size.window)
    chat = ChatML(words)
    vectors = cooccurrence.token_vectors(
        (chat.encode(text) for text in texts), size=size.vocabulary, width=size.width, window=_WINDOW, seed=seed
    )
    vectors = bag_of_words.pretrained(vectors, chat, sources, steps=size.bag_of_words_steps, seed=seed)
    torch.manual_seed(seed)
    return in_training(initialisation.new_model(size, torch.from_numpy(vectors), chat), words)


def _loaded(folder: Path) -> SharedQwen:
    """Load a model that was trained before, in full precision."""
    found = loading.load(loading.resolve(str(folder)), device="cpu", dtype=torch.float32)
    return in_training(cast(Qwen2ForCausalLM, found.model), found.tokenizer)


def in_training(model: Qwen2ForCausalLM, words: PreTrainedTokenizerBase) -> SharedQwen:
    """Return the model with the capabilities that it will ship with."""
    capabilities = _CAPABILITIES.model_copy(update={"decision_layers": initialisation.decision_layers(model)})
    return SharedQwen(model, words, name="in training", capabilities=capabilities)


def _save(qwen: SharedQwen, folder: Path) -> None:
    """Write the model as it is now, in the form in which it ships."""
    weights = {name: weight.half() for name, weight in qwen.model.state_dict().items()}
    if qwen.model.config.tie_word_embeddings:
        del weights["lm_head.weight"]
    qwen.model.save_pretrained(folder, state_dict=weights, safe_serialization=True)
    (folder / "capabilities.json").write_text(qwen.capabilities.model_dump_json(indent=2) + "\n", encoding="utf-8")
