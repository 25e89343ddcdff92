"""What has to stand beside a number: machine, versions, commit, date."""

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch

_PACKAGE = Path(__file__).resolve().parents[2]
_RESULTS = ":(exclude,top)notebooks/results"  # recordings are outputs: appending to one changes no code


def conditions(device: torch.device) -> dict[str, object]:
    """The conditions every row of a run carries. None: not there, or not to be known.

    commit: of the checkout the package lies in; else the environment variable NSA_CORE_COMMIT, whose suffix "-dirty"
        marks a tree that differs from it.
    """
    commit, dirty = _commit()
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "machine": gpu or _cpu(),
        "device": device.type,
        "gpu": gpu,
        "driver": _driver() if gpu else None,
        "cuda": torch.version.cuda if gpu else None,
        "torch": torch.__version__,
        "triton": _version("triton"),
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "commit": commit,
        "dirty": dirty,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> tuple[str | None, bool | None]:
    if _answer("git", "-C", str(_PACKAGE), "ls-files", "--error-unmatch", "__init__.py") is None:
        named = os.environ.get("NSA_CORE_COMMIT")
        return (None, None) if named is None else (named.removesuffix("-dirty"), named.endswith("-dirty"))
    changes = _answer("git", "-C", str(_PACKAGE), "status", "--porcelain", "--", ":/", _RESULTS)
    return _answer("git", "-C", str(_PACKAGE), "rev-parse", "HEAD"), bool(changes)


def _driver() -> str | None:
    drivers = _answer("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return drivers.splitlines()[0] if drivers else None


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def _answer(*command: str) -> str | None:
    """What a program prints; None when it is missing or fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    return done.stdout.strip() if done.returncode == 0 else None
