"""Texts to vectors: the bundled sentence-transformers model, a folder or a hub id, and who wrote which vector."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from qwen_allinone.errors import InputError, ModelNotFoundError
from qwen_allinone.model.loading import HUB_ID, existing_folder, first_line

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

BUNDLED = "bundled"
MIN_SIMILARITY = 0.22
"""Cosine below which nothing is recalled; chosen with the bundled embedder on ``tests/memory/facts.json``,
where it keeps 34 of 46 right facts and leaves 14 of 16 unrelated requests without any
(``python -m benchmarks.retrieval.similarity_bounds``)."""

_ALLOWED = (
    "allowed: 'bundled', a sentence-transformers folder with modules.json and *.safetensors, "
    "or a hub id such as BAAI/bge-small-zh-v1.5"
)
_LOADING = Lock()
_EMBEDDING = Lock()  # fast tokenizers refuse to be used by two threads at once


def bundled_folder() -> Path:
    """Where the bundled embedder lies inside the package."""
    return Path(str(files("qwen_allinone.memory"))) / "bundled_embedder"


def load_embedder(name: str = BUNDLED) -> "Embeddings":
    """A LangChain embedding model with unit vectors, on the CPU, loaded once per process and name.

    Weights are read from safetensors only and no code from outside is run. Folders need no network.

    Args:
        name: ``"bundled"``, a sentence-transformers folder, or a hub id.

    Raises:
        ModelNotFoundError: there is no such model, its folder is broken, or the hub cannot be reached.
    """
    with _LOADING:
        return _load(_resolve(name), name)


@dataclass(frozen=True)
class Embedder:
    """An embedding model with a name of its own, so that a store can tell whose vectors it holds."""

    embeddings: "Embeddings"
    name: str
    """For a folder its name and a digest of its weights, for anything else the model's name."""
    dimension: int
    """Length of every vector."""

    @classmethod
    def of(cls, embeddings: "Embeddings") -> "Embedder":
        """Name and measure any LangChain embedding model; one short text is embedded for it.

        Raises:
            InputError: it is no embedding model.
        """
        from langchain_core.embeddings import Embeddings

        if not isinstance(embeddings, Embeddings):
            raise InputError(
                f"embedder must be a LangChain Embeddings, given {type(embeddings).__name__}; "
                f"get one from load_embedder('bundled')"
            )
        with _EMBEDDING:
            probe = embeddings.embed_query("1")
        return cls(embeddings, _name_of(embeddings), len(probe))

    def passages(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector per text that will be searched. *Shape:* (texts, dimension)."""
        if not texts:
            return []
        with _EMBEDDING:
            return self.embeddings.embed_documents(list(texts))

    def query(self, text: str) -> list[float]:
        """The vector of a text that searches. *Shape:* (dimension,)."""
        with _EMBEDDING:
            return self.embeddings.embed_query(text)


@lru_cache(maxsize=8)
def _load(resolved: str, name: str) -> "Embeddings":
    from huggingface_hub.errors import HfHubHTTPError
    from langchain_huggingface import HuggingFaceEmbeddings
    from safetensors import SafetensorError

    local = Path(resolved).is_dir()
    arguments: dict[str, Any] = {
        "device": "cpu",
        "trust_remote_code": False,
        "local_files_only": local,
        "model_kwargs": {"use_safetensors": True},
    }
    try:
        return HuggingFaceEmbeddings(
            model=resolved, model_kwargs=arguments, encode_kwargs={"normalize_embeddings": True}
        )
    except Exception as error:  # the parsers of broken files raise bare Exception as well
        known = (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError, HfHubHTTPError)
        if not isinstance(error, known) and type(error) is not Exception:
            raise
        raise ModelNotFoundError(f"embedder {name!r} cannot be loaded: {first_line(error)}; {_ALLOWED}") from error


def _resolve(name: str) -> str:
    """The absolute folder that a name stands for, or the name itself if it is a hub id."""
    if name == BUNDLED:
        return str(_checked_folder(bundled_folder(), name))
    if (folder := existing_folder(name)) is not None:
        return str(_checked_folder(folder, name))
    if HUB_ID.fullmatch(name):
        return name
    raise ModelNotFoundError(f"no embedder {name!r}; {_ALLOWED}")


def _checked_folder(folder: Path, name: str) -> Path:
    missing = [] if (folder / "modules.json").is_file() else ["modules.json"]
    if not list(folder.rglob("*.safetensors")):
        missing.append("*.safetensors")
    if missing:
        raise ModelNotFoundError(f"embedder folder {name!r} ({folder}) lacks {', '.join(missing)}; {_ALLOWED}")
    return folder


def _name_of(embeddings: "Embeddings") -> str:
    name = str(getattr(embeddings, "model_name", None) or getattr(embeddings, "model", None) or "")
    if not name:
        return type(embeddings).__name__
    folder = Path(name)
    return f"{folder.name}-{_digest(folder)}" if folder.is_dir() else name


@lru_cache(maxsize=8)
def _digest(folder: Path) -> str:
    """Twelve hex digits over all weights in a folder: a retrained model is another model."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
