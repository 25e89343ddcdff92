"""What has to stand beside a number: machine, host, process, versions, commit, date; whether others work there."""

import hashlib
import os
import platform
import shutil
import subprocess
import uuid
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch

_PACKAGE = Path(__file__).resolve().parents[2]
_PLAIN = "--format=csv,noheader,nounits"
# Above these, somebody else is at work: of a run just before this one remain a load of one and 0.6 GiB of a context.
BUSY_LOAD, BUSY_SHARE, BUSY_BYTES, BUSY_PERCENT = 1.5, 0.5, 2 * 2**30, 10
_RESULTS = ":(exclude,top)notebooks/results"  # recordings are outputs: appending to one changes no code


def conditions(device: torch.device) -> dict[str, object]:
    """The conditions every row of a run carries. None: not there, or not to be known.

    run: names this process's run. host: tells hosts apart, and names none. date: when the run began.
    warm_loops: the first call of a loop block is not timed; recordings without it are read otherwise, see `evidence`.
    commit: of the checkout the package lies in; else the environment variable NSA_CORE_COMMIT, whose suffix "-dirty"
        marks a tree that differs from it.
    """
    commit, dirty = _commit()
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "run": uuid.uuid4().hex[:8],
        "machine": gpu or _cpu(),
        "device": device.type,
        "gpu": gpu,
        "driver": _driver() if gpu else None,
        "cuda": torch.version.cuda if gpu else None,
        "torch": torch.__version__,
        "triton": _version("triton"),
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "virtualisation": _virtualisation(),
        "host": _host(device),
        "pid": os.getpid(),
        "warm_loops": True,
        "commit": commit,
        "dirty": dirty,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def busy(device: torch.device) -> str | None:
    """What else this machine is visibly doing; None when nothing is seen. Ask before the first measurement."""
    seen, cores = [], os.cpu_count() or 1
    load = os.getloadavg()[0]
    if load > max(BUSY_LOAD, BUSY_SHARE * cores):
        seen.append(f"load average {load:.1f} on {cores} cores")
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        used = total - free - torch.cuda.memory_reserved(device)
        if used > BUSY_BYTES:
            seen.append(f"{used / 2**30:.1f} GiB of the GPU's memory is others'")
        works = _answer("nvidia-smi", f"--id={_gpu(device)}", "--query-gpu=utilization.gpu", _PLAIN)
        if works and works.isdecimal() and int(works) > BUSY_PERCENT:
            seen.append(f"the GPU works {works}% of the time")
    return ", ".join(seen) or None


def _gpu(device: torch.device) -> str:
    """The GPU's own name, whatever index it goes by."""
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def _host(device: torch.device) -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    name = _gpu(device) if device.type == "cuda" else boot.read_text() if boot.exists() else platform.node()
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def _virtualisation() -> str | None:
    """What the host runs in, as systemd names it; "a hypervisor" where only the CPU tells."""
    return _answer("systemd-detect-virt") or ("a hypervisor" if _cpuinfo("flags", " hypervisor") else None)


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
    drivers = _answer("nvidia-smi", "--query-gpu=driver_version", _PLAIN)
    return drivers.splitlines()[0] if drivers else None


def _cpu() -> str:
    return _cpuinfo("model name") or platform.machine()


def _cpuinfo(key: str, containing: str = "") -> str | None:
    """What the first CPU's line of this key says, if it contains that."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    values = (line.partition(":")[2] for line in lines if line.startswith(key))
    return next((value.strip() for value in values if containing in value), None)


def _answer(*command: str) -> str | None:
    """What a program prints; None when it is missing or fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    return done.stdout.strip() if done.returncode == 0 else None
