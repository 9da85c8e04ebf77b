"""Heads and the features of examples, kept between starts: safetensors with JSON in its header, no pickle."""

import json
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from qwen_allinone import settings

Features16 = NDArray[np.float16]
"""Hidden states of one example. *Shape:* (layers, width)."""
MAX_FEATURES = 10_000
"""Examples whose features are kept, the latest first."""


class HeadStore:
    """Files of one model: a head for each set of examples, and the features of the examples.

    A folder that cannot be written costs the next start its time, and is said; a file that is broken is made anew.

    Args:
        model: digest of the model and of how it reads.
        shipped: folder of heads that came with the model; None: there is none.
    """

    def __init__(self, model: str, shipped: Path | None = None) -> None:
        self._model = model
        self._shipped = shipped
        self._warned = False

    def head(self, key: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
        """Return the arrays and the fields that were kept under a key; None if there are none that can be used."""
        for folder in (self._folder(), self._shipped):
            found = _read(folder / f"{key}.safetensors") if folder else None
            if found is not None and found[1].get("model") == self._model:
                return found
        return None

    def keep_head(self, key: str, arrays: Mapping[str, NDArray[Any]], fields: Mapping[str, Any]) -> None:
        """Keep a head for the next start."""
        self._keep(f"{key}.safetensors", arrays, {"model": self._model, **fields})

    def features(self) -> dict[str, Features16]:
        """Return the digest of each example to its features, as far as they were kept."""
        found = _read(self._folder() / "features.safetensors")
        if found is None or found[1].get("model") != self._model:
            return {}
        arrays, fields = found
        return dict(zip(fields["examples"], arrays["features"], strict=True))

    def keep_features(self, features: Mapping[str, Features16]) -> None:
        """Keep the features of examples for later fits."""
        latest = list(features)[-MAX_FEATURES:]
        arrays = {"features": np.stack([features[example] for example in latest])}
        self._keep("features.safetensors", arrays, {"model": self._model, "examples": latest})

    def _folder(self) -> Path:
        return settings.cache() / "heads" / self._model

    def _keep(self, name: str, arrays: Mapping[str, NDArray[Any]], fields: Mapping[str, Any]) -> None:
        path = self._folder() / name
        unfinished = path.with_name(f".{uuid4().hex}-{name}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(dict(arrays), unfinished, metadata={"fields": json.dumps(fields)})
            unfinished.replace(path)  # whole or not at all, also when two processes fit at once
        except (OSError, SafetensorError) as error:
            with suppress(OSError):
                unfinished.unlink()
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"{path.parent} cannot be written ({error}), so the next start reads all examples again; "
                    "set QWEN_ALLINONE_CACHE to another folder",
                    stacklevel=2,
                )


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
    try:
        with safe_open(path, framework="numpy") as file:
            fields = json.loads(file.metadata()["fields"])
            return {name: file.get_tensor(name) for name in file.keys()}, fields  # noqa: SIM118  # no mapping
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):  # not there, or cut in half
        return None
