"""What is installed, where the model and the data lie, and what is missing; nothing is loaded or downloaded."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from platform import python_version
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Literal

from qwen_allinone.doctor.model_facts import ModelFacts

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from qwen_allinone.model.weights.report import QuantizationReport

PACKAGES = ("torch", "transformers", "langchain-core", "chromadb", "sentence-transformers")
_SELF = "qwen-allinone"
_DEVELOPMENT = "dev"


@dataclass(frozen=True)
class Devices:
    """What torch can compute on; all None or empty where torch itself cannot be imported."""

    cpu_threads: int | None
    cpu_capability: str | None
    """The widest vector instructions this torch uses here, such as ``AVX512``."""
    vnni: bool | None
    """Whether the CPU has int8 dot products; None: not known."""
    cuda: tuple[str, ...]
    """Names of the GPUs."""
    mps: bool


@dataclass(frozen=True)
class Folder:
    """A folder that is written to."""

    purpose: Literal["model cache", "home"]
    path: str
    exists: bool
    writable: bool
    """If it does not exist: whether it can be made."""


@dataclass(frozen=True)
class Missing:
    """A piece that is not there, and the command that brings it."""

    what: str
    remedy: str
    optional: bool = False
    """Nothing of the core needs it."""


@dataclass(frozen=True)
class Examination:
    """What runs here."""

    versions: Mapping[str, str | None]
    """None: not installed."""
    model: ModelFacts
    precision: "QuantizationReport | None"
    """What ``precision="auto"`` comes to on the CPU; None: not known before the first load."""
    devices: Devices
    folders: tuple[Folder, ...]
    missing: tuple[Missing, ...]

    @property
    def ready(self) -> bool:
        """Whether the model can be loaded and nothing that is needed is missing."""
        return self.model.loadable and all(each.optional for each in self.missing)

    def to_json(self) -> dict[str, Any]:
        """As plain values, for ``json.dumps``."""
        return {"ready": self.ready} | {**asdict(self), "versions": dict(self.versions)}

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """For a terminal, Chinese and English side by side."""
        return tuple(_lines(self))


def examine(model: str) -> Examination:
    """Look at the installation and at what a model's name stands for, without loading or downloading it.

    Args:
        model: ``bundled``, a folder, or a hub id; whatever it is, the answer says what is wrong with it.
    """
    facts = ModelFacts.of(model)
    fetch = (Missing(f"model {model}", f"hf download {model}"),) if facts.state == "not downloaded" else ()
    missing = (*_missing_packages(), *fetch)
    return Examination(versions(), facts, _precision(facts), _devices(), tuple(_folders()), missing)


def versions() -> Mapping[str, str | None]:
    """Of Python, this package and what its results depend on."""
    from qwen_allinone import __version__

    return {"python": python_version(), _SELF: __version__} | {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _precision(model: ModelFacts) -> "QuantizationReport | None":
    try:
        from qwen_allinone.model.weights.precision import expected_report
    except (ImportError, OSError):  # as in _devices
        return None
    return (
        None
        if model.folder is None or model.parameters is None
        else expected_report(Path(model.folder), model.parameters)
    )


def _devices() -> Devices:
    try:
        import torch
    except (ImportError, OSError):  # OSError: a shared library that torch needs
        return Devices(None, None, None, (), mps=False)
    cuda = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    capability = torch.backends.cpu.get_cpu_capability()
    return Devices(torch.get_num_threads(), capability, _vnni(), tuple(cuda), torch.backends.mps.is_available())


def _vnni() -> bool | None:
    import torch

    listed = getattr(torch.cpu, "get_capabilities", None)  # newer than the oldest torch that is allowed
    if listed is None:
        return None
    found = listed()
    known = [bool(found[name]) for name in ("avx512_vnni", "avx_vnni") if name in found]
    return any(known) if known else None


def _folders() -> Iterator[Folder]:
    from qwen_allinone import settings

    try:
        from huggingface_hub import constants
    except ImportError:
        pass
    else:
        yield _folder("model cache", Path(constants.HF_HUB_CACHE))
    yield _folder("home", settings.home())


def _folder(purpose: Literal["model cache", "home"], path: Path) -> Folder:
    try:
        nearest = next(each for each in (path, *path.parents) if each.exists())
        with TemporaryFile(dir=nearest):
            return Folder(purpose, str(path), path.is_dir(), writable=True)
    except (OSError, StopIteration):
        return Folder(purpose, str(path), path.is_dir(), writable=False)


def _missing_packages() -> Iterator[Missing]:
    """What this package declares that it needs, against what is there."""
    from packaging.requirements import Requirement

    try:
        needed = [Requirement(line) for line in requires(_SELF) or ()]
        extras = [extra for extra in metadata(_SELF).get_all("Provides-Extra") or () if extra != _DEVELOPMENT]
    except PackageNotFoundError:
        yield Missing(f"{_SELF} is not installed", "pip install -e .")
        return
    for each in needed:
        if _applies(each) and not _satisfied(each):
            yield Missing(f"{each.name} {each.specifier}", f'pip install "{each.name}{each.specifier}"')
    for extra in extras:
        lacking = [each.name for each in needed if _only_for(extra, each) and not _satisfied(each)]
        if lacking:
            yield Missing(", ".join(lacking), f'pip install "{_SELF}[{extra}]"', optional=True)


def _applies(requirement: "Requirement", extra: str = "") -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _only_for(extra: str, requirement: "Requirement") -> bool:
    return _applies(requirement, extra) and not _applies(requirement)


def _satisfied(requirement: "Requirement") -> bool:
    installed = _version(requirement.name)
    return installed is not None and requirement.specifier.contains(installed, prereleases=True)


def _lines(found: Examination) -> Iterator[str]:
    yield "版本 versions: " + " · ".join(
        f"{name} {number or '未安装 missing'}" for name, number in found.versions.items()
    )
    yield from found.model.lines
    precision = "首次加载时决定 settled by the first load"
    if found.model.state == "on a server":
        precision = "由服务器决定 the server's choice"
    if found.precision is not None:
        precision = f"{found.precision.dtype} · {found.precision.reason}"
    yield f"精度 precision: {precision}"
    devices = found.devices
    vnni = {True: ", VNNI", False: ", 无 no VNNI", None: ""}[devices.vnni]
    cpu = "torch 无法导入 cannot be imported"
    if devices.cpu_threads is not None:
        cpu = f"CPU {devices.cpu_threads} 线程 threads ({devices.cpu_capability}{vnni})"
    gpu = ", ".join(devices.cuda) or "无 none"
    yield f"设备 devices: {cpu} · CUDA: {gpu} · MPS: {'有 yes' if devices.mps else '无 none'}"
    for folder in found.folders:
        name = {"model cache": "模型缓存 model cache", "home": "数据目录 home"}[folder.purpose]
        state = "可写 writable" if folder.writable else "不可写 not writable"
        yield f"{name}: {folder.path} · {state}{'' if folder.exists else ' · 尚不存在 not there yet'}"
    for each in found.missing:
        yield f"{'可选 optional' if each.optional else '缺少 missing'}: {each.what} → {each.remedy}"
    if not found.missing:
        yield "缺少 missing: 无 nothing"
