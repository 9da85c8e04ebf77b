"""Facts about a model, read from its files without loading its weights."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Literal

from qwen_allinone.errors import InputError, ModelNotFoundError
from qwen_allinone.model.engine.openai.address import Address, is_url


@dataclass(frozen=True)
class ModelFacts:
    """A model as it lies on disk."""

    name: str
    state: Literal["ready", "on a server", "not downloaded", "unusable"]
    folder: str | None = None
    """Folder of its files; None if there are none here."""
    architecture: str | None = None
    parameters: int | None = None
    """Number of stored weights, from the headers of the safetensors files; tied ones count once."""
    bytes: int | None = None
    """Size of the safetensors files."""
    problem: str | None = None
    """Reason why it cannot be loaded."""

    @classmethod
    def from_name(cls, name: str) -> "ModelFacts":
        """Resolve a name and read what is there; a hub id is looked up in the local cache only."""
        try:
            if is_url(name):
                return cls(str(Address.from_name(name)), "on a server")
            folder = _folder(name)
        except (InputError, ImportError, OSError) as error:
            return cls(name, "unusable", problem=_first_line(error))
        if folder is None:
            return cls(name, "not downloaded", problem="not in the local cache; the first use downloads it")
        return _with_facts(cls(name, "ready", str(folder)), folder)

    @property
    def loadable(self) -> bool:
        """True if nothing in its files speaks against loading it here and now."""
        return self.state in ("ready", "on a server")

    @property
    def lines(self) -> tuple[str, ...]:
        """Lines for a terminal."""
        words = {
            "ready": "可以加载 loadable",
            "on a server": "在服务器上 on a server",
            "not downloaded": "未下载 not downloaded",
            "unusable": "不可用 unusable",
        }
        first = f"模型 model: {self.name} · {words[self.state]}" + (f" · {self.folder}" if self.folder else "")
        about = [self.architecture] if self.architecture else []
        if self.parameters is not None and self.bytes is not None:
            about += [f"{self.parameters:,} 参数 parameters", f"{self.bytes / 1e6:,.1f} MB"]
        return (first, *(f"  {line}" for line in (" · ".join(about), self.problem) if line))


def _folder(name: str) -> Path | None:
    """Return the folder of the model's files; None for a hub id that was never downloaded."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    from qwen_allinone.model.weights.loading import resolve

    resolved = Path(resolve(name))
    if resolved.is_dir():
        return resolved
    try:
        found = snapshot_download(name, local_files_only=True)
    except LocalEntryNotFoundError:
        return None
    except HFValidationError as error:
        raise ModelNotFoundError(f"no model {name!r}: {_first_line(error)}") from error
    return Path(resolve(found))


def _with_facts(found: ModelFacts, folder: Path) -> ModelFacts:
    from safetensors import SafetensorError

    from qwen_allinone.model.weights.loading import require_chatml, require_known

    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        found = replace(found, architecture=_architecture(config))
        weights = _weight_files(folder)
        found = replace(found, bytes=sum(path.stat().st_size for path in weights))
        found = replace(found, parameters=sum(map(_parameters, weights)))
        require_known(config)
        require_chatml(folder)
    except (ModelNotFoundError, SafetensorError, OSError, ValueError) as error:
        return replace(found, state="unusable", problem=_first_line(error))
    except (LookupError, TypeError, AttributeError) as error:  # JSON, but of another shape
        problem = f"a file of the model has an unexpected shape: {_first_line(error)}; download the model again"
        return replace(found, state="unusable", problem=problem)
    return found


def _architecture(config: Any) -> str:
    if not isinstance(config, dict) or "model_type" not in config:
        raise ModelNotFoundError("config.json names no model_type; download the model again")
    return str(next(iter(config.get("architectures") or ()), config["model_type"]))


def _weight_files(folder: Path) -> Sequence[Path]:
    """Return the safetensors files; all those that an index names must be there."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return sorted(folder.glob("*.safetensors"))
    named = sorted({folder / name for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    missing = [path.name for path in named if not path.is_file()]
    if missing:
        raise ModelNotFoundError(f"weights are missing: {', '.join(missing)}; download the model again")
    return named


def _parameters(path: Path) -> int:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 - not a dict


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
