"""``python -m training --data DIR``: train the bundled model, tokenizer included."""

import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast

import torch
import typer
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

from qwen_allinone.model import loading
from qwen_allinone.model.capabilities import Capabilities
from qwen_allinone.model.chatml import ChatML
from qwen_allinone.model.loading import bundled_folder
from qwen_allinone.model.shared import SharedQwen
from training import bags, circuit, cooccurrence, curves, grammar, tokenizer
from training.circuit import new_model
from training.curriculum import Curriculum
from training.examples import written
from training.exclusions import unjudged
from training.lessons import Teacher, prompt_words
from training.phases import PHASES, Phase, PhaseName, phases
from training.public_sets import VALIDATION_SHARE, public, unseen
from training.sizes import SIZES, Size
from training.sources import Item, Source, hold_out, texts_of
from training.topics import topics
from training.train import Training

_VALIDATION_SHARE = 0.04
"""Of the written texts."""
_TEXT_TOKENS, _READ_TOKENS = 112, 160
"""The longest text of a lesson, and what the trained model declares to read at once."""
_CAPABILITIES = Capabilities(
    layout="text_first",
    summary="leading",
    recall="quoted",
    reading_tokens=_READ_TOKENS,
    per_token=True,
    prior=True,
)
_WINDOW = 5
"""Tokens to each side that count as company when the embedding is started."""
_PROMPT_REPEATS = 300
"""How often the prompts count when merges are learned, so that their words are short to read and quick to answer."""
_SETTINGS, _LOG, _CURVES = "settings.json", "log.jsonl", "curves.png"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
_MODEL_FILES = ("model.safetensors", "config.json", "generation_config.json", "capabilities.json", *_TOKENIZER_FILES)


def main(
    *,
    data: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="Folder of the public data sets; without it, the written examples only."
        ),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Where log, curves and checkpoints go; by default runs/SIZE.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the model goes; by default into the package.")] = None,
    size: Annotated[str, typer.Option(help=f"One of {', '.join(SIZES)}.")] = "small",
    tokens: Annotated[int | None, typer.Option(help="To train on, instead of the size's own number.")] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Begin with the tokenizer and the weights in this folder instead of new ones.",
        ),
    ] = None,
    first: Annotated[
        PhaseName, typer.Option(help="Phase to begin with; all but the first of them need the weights of --start.")
    ] = PHASES[0],
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(help="Parts of a step computed side by side, each by one thread.")] = 2,
    resume: Annotated[bool, typer.Option(help="Continue the training that the run folder holds.")] = False,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
) -> None:
    """Train tokenizer and model, and write them in the form in which they ship."""
    torch.set_num_threads(1 if device == "cpu" else threads)
    folder = run or Path("runs") / size
    _check(folder, size=size, start=start, first=first, resume=resume)
    folder.mkdir(parents=True, exist_ok=True)
    say = _logging(folder / _LOG)
    shape = SIZES[size]
    sources, held = _sources(data, seed=seed)
    chosen = phases(shape, sources, first=first)
    planned = sum(phase.schedule.tokens for phase in chosen)
    length = tokens or planned
    rows = {source.name: len(source.items) for source in sources}
    settings = {"size": size, "tokens": length, "first": first, "seed": seed, "rows": rows}
    _same_settings(folder, settings, resume=resume)
    say({"rows": rows, "held out": len(held)})

    if start is not None:
        _copy(start, folder)
    qwen = _loaded(folder) if resume or start is not None else _started(shape, sources, folder, seed=seed)
    cast(torch.nn.Module, qwen.model).to(device)
    teacher = Teacher(qwen.chat, [item for source in sources for item in source.items], text_tokens=_TEXT_TOKENS)
    model, before = cast(Qwen2ForCausalLM, qwen.model), 0
    for phase in chosen:
        schedule = replace(phase.schedule, tokens=length * phase.schedule.tokens // planned)
        training = Training(model, schedule, learners=phase.learners, seed=seed, threads=threads)
        curriculum = Curriculum(teacher, phase.sources, stages=phase.stages, step_tokens=schedule.step, seed=seed)
        _train(phase, training, curriculum, qwen, held, folder=folder, before=before)
        before += schedule.tokens
    _copy(folder, out or bundled_folder())


def _train(
    phase: Phase,
    training: Training,
    curriculum: Curriculum,
    qwen: SharedQwen,
    held: Sequence[Item],
    *,
    folder: Path,
    before: int,
) -> None:
    """One phase, from where it was kept or from its beginning."""
    say, state = _logging(folder / _LOG), folder / f"{phase.name}.safetensors"
    if state.is_file():
        training.take_up(state)

    def tell(values: dict[str, Any]) -> None:
        say({"tokens": before + training.progress.seen, **values})

    def check() -> None:
        with training.averaged():
            now = _in_training(training.model, qwen.tokenizer)
            _save(now, folder)
            tell(phase.examined(now, held))
        training.keep(state)
        curves.draw(folder / _LOG, folder / _CURVES)

    if training.progress.share < 1:
        training.run(curriculum, log=tell, check=check)
        check()


def _check(folder: Path, *, size: str, start: Path | None, first: PhaseName, resume: bool) -> None:
    """Refuse what cannot be meant before anything is written."""
    if size not in SIZES:
        raise typer.BadParameter(f"there is no size {size!r}; there are: {', '.join(SIZES)}")
    kept = any((folder / f"{phase}.safetensors").is_file() for phase in PHASES)
    if kept and not resume:
        raise typer.BadParameter(f"{folder} holds a training; --resume continues it, or choose another --run")
    if resume and not (kept and (folder / _SETTINGS).is_file()):
        raise typer.BadParameter(f"{folder} holds no training that could be resumed")
    if resume and start is not None:
        raise typer.BadParameter("a training that is resumed has its own weights; leave --start out")
    if first != PHASES[0] and start is None and not resume:
        raise typer.BadParameter(f"--first {first} needs weights that decide; name them by --start")
    missing = [name for name in _MODEL_FILES if start is not None and not (start / name).is_file()]
    if missing:
        raise typer.BadParameter(f"{start} is no model of this recipe; it lacks {', '.join(missing)}")
    if first != PHASES[0] and start is not None and not circuit.is_grown(Qwen2Config.from_pretrained(start)):
        raise typer.BadParameter(f"the model in {start} has no layers for replies; leave --first out")


def _same_settings(folder: Path, settings: dict[str, Any], *, resume: bool) -> None:
    """Keep what decides the result of a training; one that is resumed must have the same."""
    path = folder / _SETTINGS
    if resume:
        begun = json.loads(path.read_text(encoding="utf-8"))
        for name, value in settings.items():
            if begun[name] != value:
                raise typer.BadParameter(f"{folder} was begun with {name} {begun[name]}, not {value}; give the same")
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _copy(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in _MODEL_FILES:
        shutil.copyfile(source / name, target / name)


def _sources(data: Path | None, *, seed: int) -> tuple[list[Source], list[Item]]:
    """What is trained on, and what validates: shares of the written and of the public texts, and what is held out."""
    examples, held = hold_out(written(), _VALIDATION_SHARE)
    sets, public_held = hold_out(public(data) if data else [], VALIDATION_SHARE)
    sources = [*examples, *grammar.drawn(seed=seed), *sets]
    return unjudged([*sources, topics(sources, seed=seed)]), [*held, *public_held, *(unseen(data) if data else [])]


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
    vectors = bags.learn(vectors, chat, sources, steps=shape.bag_steps, seed=seed)
    torch.manual_seed(seed)
    model = new_model(shape, torch.from_numpy(vectors), chat)
    return _in_training(model, words)


def _loaded(folder: Path) -> SharedQwen:
    """A model that was trained before, in full precision."""
    found = loading.load(loading.resolve(str(folder)), device="cpu", dtype=torch.float32)
    return _in_training(cast(Qwen2ForCausalLM, found.model), found.tokenizer)


def _in_training(model: Qwen2ForCausalLM, words: PreTrainedTokenizerBase) -> SharedQwen:
    capabilities = _CAPABILITIES.model_copy(update={"decision_layers": circuit.decision_layers(model)})
    return SharedQwen(model, words, name="in training", capabilities=capabilities)


def _save(qwen: SharedQwen, folder: Path) -> None:
    """Write the model as it is now, in the form in which it ships."""
    weights = {name: weight.half().cpu() for name, weight in qwen.model.state_dict().items()}
    if qwen.model.config.tie_word_embeddings:
        del weights["lm_head.weight"]
    qwen.model.save_pretrained(folder, state_dict=weights, safe_serialization=True)
    (folder / "capabilities.json").write_text(qwen.capabilities.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _logging(path: Path) -> Callable[[dict[str, Any]], None]:
    def say(value: dict[str, Any]) -> None:
        line = json.dumps(value, ensure_ascii=False)
        print(line, flush=True)
        with path.open("a", encoding="utf-8") as log:
            log.write(line + "\n")

    return say


if __name__ == "__main__":
    typer.run(main)
