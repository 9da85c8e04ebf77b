"""Downloads of models from the Hugging Face hub into its local cache."""

import json
import shutil
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qwen_allinone import hub_cache
from qwen_allinone.errors import InputError, ModelNotFoundError, RunError, ServerError
from qwen_allinone.hub_cache import CONFIG, INDEX, SINGLE_FILE, TOKENIZER, ModelFiles
from qwen_allinone.model.weights import loading

DEFAULT_MODEL = "Qwen/Qwen2.5-0.5B-Instruct"
"""Smallest chat model of Qwen2.5."""

Progress = Callable[[int, int], object]
"""Called with the number of bytes that are here and the number of all."""

_TEXT_FILES = (".json", ".txt", ".jinja")


def pull(name: str, *, revision: str | None = None, progress: Progress = lambda _done, _all: None) -> ModelFiles:
    """Download a model, or the files of it that are new.

    Only safetensors and text files (JSON, merges, chat template) are taken: no pickle and no code.

    Args:
        name: ``owner/name`` on the hub; ``owner/name@revision`` is the same as giving the revision.
        revision: branch, tag or commit; by default ``main``.
        progress: called as bytes come.

    Raises:
        ModelNotFoundError: the hub has no such model or revision, it is gated, or it is not a Qwen that can be loaded.
        InputError: the hub is not to be asked (``HF_HUB_OFFLINE``).
        ServerError: the hub cannot be reached, or answers with an error.
        RunError: the disk is full or the cache cannot be written.
    """
    from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download

    repository, wanted = _parsed(name, revision)
    if constants.HF_HUB_OFFLINE:
        raise InputError("HF_HUB_OFFLINE is set, so nothing is fetched from the hub; unset it to pull")
    with _plain_errors(repository, wanted):
        info = HfApi().model_info(repository, revision=wanted, files_metadata=True)
        sizes = {each.rfilename: each.size or 0 for each in info.siblings or () if "/" not in each.rfilename}
        files = _wanted_files(repository, str(info.sha), sizes)
        done, total = 0, sum(sizes[file] for file in files)
        # By commit, so that the revision stands for it only once all its files are here. And one by one: the threads
        # of snapshot_download would go on to the end of their files after Ctrl-C.
        for file in files:
            hf_hub_download(repository, file, revision=info.sha, tqdm_class=_bar(progress, done, total))
            done += sizes[file]
            progress(done, total)
        # Record the commit that the revision stands for, and get what is new if that has changed meanwhile.
        folder = snapshot_download(repository, revision=wanted, allow_patterns=files, tqdm_class=_bar())
    return ModelFiles.from_folder(Path(folder), name=hub_cache.qualified(repository, wanted))


def _wanted_files(repository: str, commit: str, sizes: Mapping[str, int]) -> list[str]:
    """Return the files to fetch, weights last, once the small ones show that the model can be loaded and has room."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.constants import HF_HUB_CACHE

    _require_files(repository, [CONFIG, TOKENIZER, INDEX if INDEX in sizes else SINGLE_FILE], sizes)
    folder = Path(hf_hub_download(repository, CONFIG, revision=commit, tqdm_class=_bar())).parent
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    hub_cache.require_qwen(repository, config)
    loading.require_known(config)
    for file in {TOKENIZER, INDEX} & sizes.keys():
        hf_hub_download(repository, file, revision=commit, tqdm_class=_bar())
    loading.require_chatml(folder)
    weights = hub_cache.weight_files(folder)
    _require_files(repository, weights, sizes)
    plans = [hf_hub_download(repository, file, revision=commit, dry_run=True) for file in weights]
    needed = sum(sizes[plan.filename] for plan in plans if plan.will_download)
    free = shutil.disk_usage(HF_HUB_CACHE).free
    if needed > free:
        raise RunError(
            f"{repository} needs {needed / 1e6:,.1f} MB more and {HF_HUB_CACHE} has {free / 1e6:,.1f} MB left; "
            "free some, or set HF_HOME to a folder on another disk"
        )
    return [*sorted(file for file in sizes if file.endswith(_TEXT_FILES)), *weights]


def _bar(progress: Progress = lambda _done, _all: None, done: int = 0, total: int = 0) -> Any:
    """Return a class of bars for the hub's library that show nothing and report what comes after ``done`` bytes."""
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]  # public, but not in an __all__

    class Bar(tqdm):
        reported = done

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **(options | {"disable": True}))  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            # Xet storage has a bar of bytes received and one of bytes written: the one that is ahead counts.
            Bar.reported = max(Bar.reported, min(done + int(self.n), total))
            progress(Bar.reported, total)

    return Bar


def _require_files(repository: str, needed: list[str], present: Container[str]) -> None:
    if missing := [file for file in needed if file not in present]:
        raise ModelNotFoundError(
            f"model {repository!r} on the hub lacks {', '.join(missing)} (weights in pickles or GGUF files are never "
            f"loaded); pull another, such as {DEFAULT_MODEL}"
        )


def _parsed(name: str, revision: str | None) -> tuple[str, str]:
    given = name if revision is None else f"{name}@{revision}"
    if parts := hub_cache.split(given):
        return parts
    raise ModelNotFoundError(
        f"{given!r} is no name on the hub; give owner/name, such as {DEFAULT_MODEL}, "
        "and as a revision a branch, a tag or a commit"
    )


@contextmanager
def _plain_errors(repository: str, revision: str) -> Iterator[None]:
    """Turn what the hub's library raises into this package's errors, each with its remedy."""
    import httpx
    from huggingface_hub import constants, errors

    hub = constants.ENDPOINT
    try:
        yield
    except InputError:
        raise
    except errors.GatedRepoError as error:
        problem = f"{repository} is gated; accept its terms at {hub}/{repository}, then run: hf auth login"
        raise ModelNotFoundError(problem) from error
    except errors.RepositoryNotFoundError as error:
        problem = f"{hub} has no model {repository!r}; check the spelling; if it is private, run: hf auth login"
        raise ModelNotFoundError(problem) from error
    except errors.RevisionNotFoundError as error:
        problem = f"{repository} has no revision {revision!r}; its revisions are at {hub}/{repository}/tree/main"
        raise ModelNotFoundError(problem) from error
    except errors.HFValidationError as error:
        raise ModelNotFoundError(f"no model {repository!r} on the hub: {loading.first_line(error)}") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            problem = f"{hub} refuses {repository} (HTTP {status}); renew the token: hf auth login"
            raise ModelNotFoundError(problem) from error
        raise ServerError(f"{hub} answered with HTTP {status}; try again later") from error
    except (httpx.HTTPError, errors.LocalEntryNotFoundError) as error:
        raise ServerError(
            f"{hub} cannot be reached ({loading.first_line(error)}); check the network and the proxy, "
            "or set HF_ENDPOINT to a mirror, and pull again"
        ) from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, httpx.InvalidURL) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the others are of the library itself
            raise RunError(
                f"the model cache cannot be written ({error}); free space, or set HF_HOME to another folder"
            ) from error
        raise ServerError(
            f"{hub} returned an invalid response ({loading.first_line(error)}); "
            "pull again, or check HF_ENDPOINT and the proxy"
        ) from error
