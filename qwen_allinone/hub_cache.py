"""Models in the local cache of the Hugging Face hub, as its folders show them; nothing heavy is imported for it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from qwen_allinone.errors import ModelNotFoundError

MAX_DEFAULT_PARAMETERS = 2_500_000_000
"""Size up to which a model becomes the default by being there: the 2B class, whose fp32 weights take up to 10 GB."""

MAIN = "main"
"""Revision that a name without one stands for."""
CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
INDEX = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"

_NAME = re.compile(r"([A-Za-z0-9][\w.-]*/[\w.-]+)(?:@(\w[\w./-]*))?", re.ASCII)
_MODEL_TYPE = re.compile(r"qwen\d+(_\d+)?(_moe|_next|_exp)?(_text)?")
_ARCHITECTURES = ("ForCausalLM", "ForConditionalGeneration")
_END_OF_TURN = "<|im_end|>"
_NO_CHAT = re.compile(r"embedding|reranker", re.IGNORECASE)
_BROKEN = (OSError, ValueError, LookupError, TypeError, AttributeError)
"""Raised on files that hold something else than expected."""


@dataclass(frozen=True)
class ModelFiles:
    """A whole model in a folder."""

    name: str
    folder: Path
    parameters: int
    """Number of stored weights, from the headers of the safetensors files; tied ones count once."""
    bytes: int
    """Size of the safetensors files."""
    is_chat: bool
    """True if its tokenizer ends a text at the end of a turn, as those of base models do not."""

    @classmethod
    def from_folder(cls, folder: Path, *, name: str) -> "ModelFiles":
        """Read the small files and the headers of the weights.

        Raises:
            ModelNotFoundError: files are missing or broken, or the model is not of a kind that can be loaded.
        """
        from safetensors import SafetensorError

        try:
            require_qwen(name, _read_object(folder / CONFIG))
            if missing := _missing_files(folder):
                raise ModelNotFoundError(f"model {name!r} lacks {', '.join(missing)}")
            weights = [folder / file for file in weight_files(folder)]
            return cls(
                name=name,
                folder=folder,
                parameters=sum(map(_parameters, weights)),
                bytes=sum(path.stat().st_size for path in weights),
                is_chat=_ends_turns(folder) and not _NO_CHAT.search(name),
            )
        except ModelNotFoundError:
            raise
        except (SafetensorError, *_BROKEN) as error:
            raise ModelNotFoundError(f"model {name!r} has a file that cannot be read: {error}") from error


def cached_models() -> list[ModelFiles]:
    """Return the whole models of the Qwen family that are in the cache, by name; what cannot be loaded is left out."""
    found = []
    cache = _cache_folder()
    for repository in () if cache is None else sorted(cache.glob("models--*--*")):
        name = repository.name.removeprefix("models--").replace("--", "/")
        for revision, folder in _revisions(repository).items():
            try:
                found.append(ModelFiles.from_folder(folder, name=qualified(name, revision)))
            except ModelNotFoundError:
                continue
    return found


def best_chat_model() -> ModelFiles | None:
    """Return the chat model in the cache with the most parameters, up to ``MAX_DEFAULT_PARAMETERS``; None without one.

    Of several with equally many it is the first by name.
    """
    fit = [model for model in cached_models() if model.is_chat and model.parameters <= MAX_DEFAULT_PARAMETERS]
    return max(fit, key=lambda model: model.parameters, default=None)


def find_folder(name: str) -> Path | None:
    """Return the folder of a model in the cache if all its files are there, else None.

    Args:
        name: as on the hub, ``owner/name`` or ``owner/name@revision``.
    """
    parts, cache = split(name), _cache_folder()
    if parts is None or cache is None:
        return None
    folder = _revisions(cache / f"models--{parts[0].replace('/', '--')}").get(parts[1])
    try:
        return None if folder is None or _missing_files(folder) else folder
    except _BROKEN:
        return None


def split(name: str) -> tuple[str, str] | None:
    """Return the repository and the revision that a name stands for; None if it is not a name on the hub."""
    matched = _NAME.fullmatch(name)
    if matched is None or ".." in (matched[2] or ""):
        return None
    return matched[1], matched[2] or MAIN


def qualified(repository: str, revision: str) -> str:
    """Return the name of a repository at a revision: ``owner/name@revision``, or ``owner/name`` for the main one."""
    return repository if revision == MAIN else f"{repository}@{revision}"


def require_qwen(name: str, config: Mapping[str, Any]) -> None:
    """Check from the content of ``config.json`` that a model is a Qwen that writes text, in weights of 16 or 32 bits.

    Raises:
        ModelNotFoundError: it is something else.
    """
    model_type, architectures = str(config.get("model_type")), config.get("architectures") or ["none"]
    architecture = str(architectures[0])
    if not _MODEL_TYPE.fullmatch(model_type) or not architecture.endswith(_ARCHITECTURES):
        raise ModelNotFoundError(
            f"model {name!r} is not supported: its architecture is {architecture} ({model_type}); "
            "allowed: a Qwen that writes text, such as Qwen/Qwen2.5-0.5B-Instruct"
        )
    if config.get("quantization_config") or config.get("quantization"):
        raise ModelNotFoundError(
            f"model {name!r} is not supported: its weights are quantized; "
            "take the repository without AWQ, GPTQ, FP8 or 4bit in its name, which is quantized here as it loads"
        )


def weight_files(folder: Path) -> list[str]:
    """Return the names of the safetensors files that a model consists of, whether they are there or not.

    Raises:
        OSError, ValueError, LookupError, TypeError, AttributeError: the index cannot be read.
    """
    if not (folder / INDEX).is_file():
        return [SINGLE_FILE]
    return sorted(set(_read_object(folder / INDEX)["weight_map"].values()))


def _cache_folder() -> Path | None:
    try:
        from huggingface_hub import constants
    except ImportError:  # doctor has yet to say that it is missing
        return None
    return Path(constants.HF_HUB_CACHE)


def _revisions(repository: Path) -> dict[str, Path]:
    """Map revisions to folders: those that have a name in the repository, then commits that have none."""
    snapshots, references = repository / "snapshots", repository / "refs"
    named = {}
    for path in sorted(references.rglob("*")):
        if path.is_file():
            commit = path.read_text(encoding="utf-8", errors="replace").strip()
            if re.fullmatch(r"\w+", commit) and (snapshots / commit).is_dir():
                named[path.relative_to(references).as_posix()] = snapshots / commit
    unnamed = {folder.name: folder for folder in sorted(snapshots.glob("*")) if folder not in named.values()}
    return named | unnamed


def _missing_files(folder: Path) -> list[str]:
    return [file for file in (CONFIG, TOKENIZER, *weight_files(folder)) if not (folder / file).is_file()]


def _read_object(path: Path) -> Mapping[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds no JSON object")
    return content


def _ends_turns(folder: Path) -> bool:
    path = folder / "tokenizer_config.json"
    token = _read_object(path).get("eos_token") if path.is_file() else None
    return (token.get("content") if isinstance(token, dict) else token) == _END_OF_TURN


def _parameters(path: Path) -> int:
    """Count the weights in a safetensors file from its header."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return sum(prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118  # not a mapping
