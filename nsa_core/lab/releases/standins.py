"""Importing a release's own files and nothing else of its engine: every other module it names is a stand-in."""

import importlib.util
import os
import sys
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch

from nsa_core import ForwardMode
from nsa_core.schedules import schedule_paged_mqa

from .fetch import runs
from .table import DECODE, EXTEND, PACKAGES, VERIFY, Release

_FAMILIES = {"nsa": "NativeSparseAttn", "dsa": "DeepseekSparseAttn"}  # how its classes begin
_REPLACED = ("sglang", "sgl_kernel")  # packages of which a stand-in takes every part that does not run
_SMS = 132  # of an H100 or H200, to make a schedule for where there is no GPU


class StandInUsed(BaseException):
    """A release called what only stands in for its engine. No Exception: some releases swallow those and go on."""


class StandIn:
    """Takes part in imports, as a class, decorator, constant or condition; it computes nothing, then or later."""

    def __init__(self, name: str, finder: "ReleaseFinder") -> None:
        self.__dict__.update(_name=name, _finder=finder)

    def __getattr__(self, name: str) -> "StandIn":
        if name.startswith("__"):
            raise AttributeError(name)
        return StandIn(f"{self._name}.{name}", self._finder)

    def __call__(self, *arguments: object, **options: object) -> "StandIn":
        self._finder.require_importing(self._name)
        return StandIn(f"{self._name}()", self._finder)

    def __bool__(self) -> bool:
        self._finder.require_importing(self._name)
        return False

    def __mro_entries__(self, bases: tuple) -> tuple:
        return ()


class StandInModule(ModuleType):
    def __getattr__(self, name: str) -> StandIn:
        if name.startswith("__"):
            raise AttributeError(name)
        return StandIn(f"{self.__name__}.{name}", self.finder)


class ReleaseFinder(MetaPathFinder, Loader):
    """Finds the modules of one release: its own file, a stand-in, or nothing where a CPU could not import it."""

    def __init__(self, release: Release, folder: Path, device: torch.device) -> None:
        self.release, self.folder, self.importing = release, folder, True
        self.absent = None if device.type == "cuda" else release.kernel
        self.answers = answers(release, device)

    def require_importing(self, name: str) -> None:
        if not self.importing:
            raise StandInUsed(f"{self.release.name} called {name}, which only stands in for its engine")

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name.partition(".")[0] not in _REPLACED or name == self.absent:
            return None
        if not runs(self.release, name):
            return ModuleSpec(name, self, is_package=True)
        where = self.folder.joinpath(*name.split("."))
        if where.is_dir():
            return importlib.util.spec_from_file_location(
                name, where / "__init__.py", submodule_search_locations=[str(where)]
            )
        return importlib.util.spec_from_file_location(name, where.with_suffix(".py"))

    def create_module(self, spec: ModuleSpec) -> StandInModule:
        module = StandInModule(spec.name)
        module.finder = self
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__.update(self.answers.get(module.__name__, {}))


class EngineMode:
    """A forward mode as releases ask for it."""

    def __init__(self, mode: ForwardMode) -> None:
        self.mode = mode

    def is_decode_or_idle(self) -> bool:
        return self.mode.is_decode_or_idle()

    def is_target_verify(self) -> bool:
        return self.mode is VERIFY

    def is_draft_extend(self, include_v2: bool = False) -> bool:
        return self.mode is EXTEND

    is_draft_extend_v2 = is_draft_extend


def answers(release: Release, device: torch.device) -> dict[str, dict[str, object]]:
    """What stand-ins say where a release asks for a fact: the platform, its environment, the forward mode."""
    cuda = device.type == "cuda"
    told_cuda = cuda or release.told_cuda
    platform = SimpleNamespace(is_sm100=cuda and torch.cuda.get_device_capability(device)[0] == 10)
    elsewhere = dict.fromkeys(("is_hip", "is_xpu", "is_gfx95_supported"), lambda: False)
    utils = {"is_cuda": lambda: told_cuda, "get_bool_env_var": _is_set, **elsewhere}
    return {
        "sglang.srt.utils": utils,
        "sglang.srt.utils.common": utils,
        "sglang.srt.runtime_context": {"get_platform": lambda: platform},
        "sglang.srt.model_executor.forward_batch_info": {"ForwardMode": SimpleNamespace(DECODE=EngineMode(DECODE))},
    }


def _is_set(name: str, default: str = "false") -> bool:
    return os.environ.get(name, default).lower() in ("true", "1")


@dataclass(frozen=True)
class Loaded:
    """A release in this process. backend: one draft step's or the target's. multi_step: that of all draft steps."""

    release: Release
    folder: Path
    backend: type
    multi_step: type


def load(release: Release, folder: Path, device: torch.device) -> Loaded:
    """Import the release's backends. Once per process: modules are global.

    RuntimeError where another release is loaded already, or a package is missing that its refresh imports.
    """
    if "sglang" in sys.modules:
        raise RuntimeError(f"sglang is imported already; {release.name} needs a process of its own")
    if missing := missing_packages(release, device):
        raise RuntimeError(missing)
    if release.schedule:
        _provide_deep_gemm(release, device)
    finder, family = ReleaseFinder(release, folder, device), _FAMILIES[release.prefix]
    sys.meta_path.insert(0, finder)
    module = importlib.import_module(f"sglang.srt.layers.attention.{release.prefix}_backend")
    finder.importing = False
    return Loaded(release, folder, getattr(module, f"{family}Backend"), getattr(module, f"{family}MultiStepBackend"))


def missing_packages(release: Release, device: torch.device) -> str | None:
    """What has to be installed before a release's refresh runs on `device`; None when nothing has."""
    needed = release.needs if device.type == "cuda" else set(release.needs) & {"triton"}
    missing = [PACKAGES[name] for name in needed if importlib.util.find_spec(name) is None]
    return f"{release.name} on {device.type} needs: pip install {' '.join(missing)}" if missing else None


def _provide_deep_gemm(release: Release, device: torch.device) -> None:
    """DeepGEMM's schedule under its own name: the library's on a GPU, this package's on a CPU."""
    if device.type != "cuda":
        sys.modules["deep_gemm"] = library = ModuleType("deep_gemm")
        library.get_num_sms = lambda: _SMS
        library.get_paged_mqa_logits_metadata = lambda lengths, block, sms: schedule_paged_mqa(
            lengths.reshape(-1), sms
        )
        return
    import deep_gemm

    theirs = deep_gemm.get_paged_mqa_logits_metadata
    if release.prefix == "nsa":  # of 2025: hands over a vector, of which the library of 2026 wants a column
        deep_gemm.get_paged_mqa_logits_metadata = lambda lengths, *sizes: theirs(lengths.view(-1, 1), *sizes)
