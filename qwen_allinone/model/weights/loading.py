"""Weights and tokenizer from the package, a folder or the hub: safetensors only, no code from outside."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen_allinone import hub_cache
from qwen_allinone.errors import InputError, ModelNotFoundError
from qwen_allinone.model.engine.capabilities import Capabilities

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BUNDLED = "bundled"

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
"""Pattern of a name on the hub: owner/name."""
_ALLOWED = (
    "allowed: 'bundled', a folder with config.json, tokenizer.json and *.safetensors, "
    "a hub id such as Qwen/Qwen2.5-0.5B-Instruct, or the URL of a server such as http://127.0.0.1:8000/v1"
)


@dataclass(frozen=True)
class LoadedModel:
    """A model as it was loaded."""

    name: str
    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    capabilities: Capabilities


def bundled_folder() -> Path:
    """Return the folder of the bundled model inside the package."""
    return Path(str(files("qwen_allinone.model.weights"))) / "bundled"


def resolve(name: str) -> str:
    """Return the absolute folder that a name stands for, or the name itself if it is a hub id that is not here yet.

    A model that is whole in the hub's local cache is used as it is there, without asking the hub.

    Raises:
        ModelNotFoundError: it is neither.
    """
    if name == BUNDLED:
        return str(_checked_folder(bundled_folder(), name))
    if (folder := existing_folder(name)) is not None:
        return str(_checked_folder(folder, name))
    if (folder := hub_cache.find_folder(name)) is not None:
        return str(folder.resolve())
    if HUB_ID.fullmatch(name):
        return name
    if (parts := hub_cache.split(name)) is not None:
        raise ModelNotFoundError(f"no model {name!r} here; qwen-allinone pull {parts[0]} --revision {parts[1]}")
    raise ModelNotFoundError(f"no model {name!r}; {_ALLOWED}")


def load(name: str, *, device: str, dtype: "torch.dtype") -> LoadedModel:
    """Load a resolved name.

    Args:
        name: a result of ``resolve``.
        device: a torch device.
        dtype: of the weights.

    Raises:
        ModelNotFoundError: nothing can be loaded from there, or parts of the weights are missing.
        InputError: there is no such device.
    """
    from transformers import AutoModelForCausalLM

    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            name,
            dtype=dtype,
            attn_implementation="sdpa",  # never what a foreign config asks for, which may be code from a hub
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        model, report = loaded
    except Exception as error:  # a broken file makes the libraries raise nearly anything
        raise _not_loaded(name, error) from error
    if report["missing_keys"]:
        raise ModelNotFoundError(f"model {name!r} lacks weights: {', '.join(sorted(report['missing_keys'])[:3])}, ...")
    found = with_tokenizer(name, model)
    try:
        model.to(device).eval()
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device!r} cannot be used: {first_line(error)}; 'cpu' always can") from error
    return found


def with_tokenizer(name: str, model: "PreTrainedModel") -> LoadedModel:
    """Load the rest of a resolved name: its tokenizer and its capabilities.

    Raises:
        ModelNotFoundError: the tokenizer cannot be loaded, or belongs to another model.
    """
    tokenizer = load_tokenizer(name)
    rows: Any = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise ModelNotFoundError(f"model {name!r} has a tokenizer of {len(tokenizer)} tokens for weights of {rows}")
    capabilities = Capabilities.from_folder(Path(name)) if Path(name).is_dir() else Capabilities()
    return LoadedModel(name, model, tokenizer, capabilities)


def load_tokenizer(name: str) -> "PreTrainedTokenizerBase":
    """Load the tokenizer of a resolved name.

    Raises:
        ModelNotFoundError: it cannot be loaded.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # a broken file makes the libraries raise nearly anything
        raise _not_loaded(name, error) from error
    return tokenizer


def require_known(config: Mapping[str, Any]) -> None:
    """Check from the content of ``config.json`` that transformers has code of its own for a model.

    Raises:
        ModelNotFoundError: it has none.
    """
    from transformers import CONFIG_MAPPING, __version__

    if config["model_type"] not in CONFIG_MAPPING:
        raise ModelNotFoundError(
            f"transformers {__version__} does not know {config['model_type']!r}; pip install -U transformers"
        )


def require_chatml(folder: Path) -> None:
    """Check that a model's tokenizer marks turns as the Qwen family does.

    Raises:
        ModelNotFoundError: it does not.
    """
    added = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")).get("added_tokens") or ()
    missing = {"<|im_start|>", "<|im_end|>"} - {token["content"] for token in added}
    if missing:
        raise ModelNotFoundError(f"the tokenizer has no {' and no '.join(sorted(missing))}: not of the Qwen family")


def folder_of(name: str) -> Path | None:
    """Return the folder with the files of a resolved name; None for a hub id that was not downloaded yet."""
    from huggingface_hub import try_to_load_from_cache

    if Path(name).is_dir():
        return Path(name)
    found = try_to_load_from_cache(name, "config.json")
    return Path(found).parent if isinstance(found, str) else None


def _not_loaded(name: str, error: Exception) -> ModelNotFoundError:
    return ModelNotFoundError(f"model {name!r} cannot be loaded: {first_line(error)}; {_ALLOWED}")


def existing_folder(name: str) -> Path | None:
    """Return the folder, or None if it does not exist, whatever the name."""
    try:
        folder = Path(name).expanduser()
        return folder.resolve() if folder.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # too long a name, no such user, a null byte
        return None


def first_line(error: BaseException) -> str:
    """Return the message of a library's error, on one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _checked_folder(folder: Path, name: str) -> Path:
    missing = [part for part in ("config.json", "tokenizer.json") if not (folder / part).is_file()]
    if not list(folder.glob("*.safetensors")):
        missing.append("*.safetensors")
    if missing:
        raise ModelNotFoundError(f"model folder {name!r} ({folder}) lacks {', '.join(missing)}; {_ALLOWED}")
    return folder
