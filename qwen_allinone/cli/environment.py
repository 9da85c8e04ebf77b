"""The environment: versions, the model's files, devices, folders, and what is missing; nothing is loaded."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Literal

from qwen_allinone import settings
from qwen_allinone.cli.model_facts import ModelFacts
from qwen_allinone.cli.packages import Missing, missing_packages, versions

if TYPE_CHECKING:
    from qwen_allinone.model.weights.report import QuantizationReport


@dataclass(frozen=True)
class Devices:
    """Devices that torch can compute on; all None or empty where torch itself cannot be imported."""

    cpu_threads: int | None
    cpu_capability: str | None
    """Widest vector instructions that this torch uses here, such as ``AVX512``."""
    vnni: bool | None
    """True if the CPU has int8 dot products; None: not known."""
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
    """True for a folder that does not exist but can be made, too."""


@dataclass(frozen=True)
class Environment:
    """Everything that decides whether a model runs here."""

    versions: Mapping[str, str | None]
    """Package to version; None: not installed."""
    model: ModelFacts
    quantization: "QuantizationReport | None"
    """Result of ``precision="auto"`` on the CPU; None: not known before the first load."""
    devices: Devices
    folders: tuple[Folder, ...]
    missing: tuple[Missing, ...]

    @classmethod
    def from_model_name(cls, name: str) -> "Environment":
        """Look at the installation and at what a model's name stands for, without loading or downloading it.

        Args:
            name: ``bundled``, a folder, a hub id or a URL; whatever it is, the answer says what is wrong with it.
        """
        model = ModelFacts.from_name(name)
        missing = [*missing_packages()]
        if model.state == "not downloaded":
            missing.append(Missing(f"model {name}", f"qwen-allinone pull {name}"))
        return cls(versions(), model, _quantization(model), _devices(), tuple(_folders()), tuple(missing))

    @property
    def ready(self) -> bool:
        """True if the model can be loaded and nothing that is needed is missing."""
        return self.model.loadable and all(each.optional for each in self.missing)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for ``json.dumps``."""
        return {"ready": self.ready} | {**asdict(self), "versions": dict(self.versions)}

    @property
    def lines(self) -> tuple[str, ...]:
        """Lines for a terminal, Chinese and English side by side."""
        return tuple(_lines(self))


def _quantization(model: ModelFacts) -> "QuantizationReport | None":
    try:
        from qwen_allinone.model.weights.precision import expected_report
    except (ImportError, OSError):  # as in _devices
        return None
    if model.folder is None or model.parameters is None:
        return None
    return expected_report(Path(model.folder), model.parameters)


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


def _lines(found: Environment) -> Iterator[str]:
    numbers = [f"{name} {number or '未安装 missing'}" for name, number in found.versions.items()]
    yield f"版本 versions: {' · '.join(numbers)}"
    yield from found.model.lines
    yield f"精度 dtype: {_dtype_words(found)}"
    yield f"设备 devices: {_device_words(found.devices)}"
    for folder in found.folders:
        name = {"model cache": "模型缓存 model cache", "home": "数据目录 home"}[folder.purpose]
        state = "可写 writable" if folder.writable else "不可写 not writable"
        yield f"{name}: {folder.path} · {state}{'' if folder.exists else ' · 尚不存在 not there yet'}"
    for each in found.missing:
        yield f"{'可选 optional' if each.optional else '缺少 missing'}: {each.what} → {each.remedy}"
    if not found.missing:
        yield "缺少 missing: 无 nothing"


def _dtype_words(found: Environment) -> str:
    if found.quantization is not None:
        return f"{found.quantization.dtype} · {found.quantization.reason}"
    if found.model.state == "on a server":
        return "由服务器决定 the server's choice"
    return "首次加载时决定 settled by the first load"


def _device_words(devices: Devices) -> str:
    cpu = "torch 无法导入 cannot be imported"
    if devices.cpu_threads is not None:
        vnni = {True: ", VNNI", False: ", 无 no VNNI", None: ""}[devices.vnni]
        cpu = f"CPU {devices.cpu_threads} 线程 threads ({devices.cpu_capability}{vnni})"
    gpu = ", ".join(devices.cuda) or "无 none"
    return f"{cpu} · CUDA: {gpu} · MPS: {'有 yes' if devices.mps else '无 none'}"
