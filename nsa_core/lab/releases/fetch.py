"""A release's files on this machine: its wheel through pip, checked by its hash; the files that run are kept."""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from .table import Release

# Whichever CPython runs here, the one wheel whose hash is known; its files are Python and CUDA sources.
_PIP = [*"-m pip download --no-deps --only-binary=:all: --implementation cp --python-version 3.11".split()]
_PLATFORM = ["--platform", "manylinux_2_34_x86_64", "--abi", "cp311", "--abi", "none"]
_PATIENCE = ["--retries", "1", "--timeout", "30", "--disable-pip-version-check", "--quiet"]


class NotFetched(RuntimeError):
    """A release that is not on this machine and could not be brought here."""


def cache_folder() -> Path:
    """Where releases lie: $NSA_CORE_RELEASES, else nsa_core/releases in the user's cache folder."""
    chosen = os.environ.get("NSA_CORE_RELEASES")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nsa_core" / "releases"


def fetch(release: Release) -> Path:
    """The folder with the release's files and its licence; from the cache, from its wheel there, or through pip.

    NotFetched, in one line, where there is no wheel, no index to be reached, or another wheel than the pinned one.
    """
    folder = _folder(release)
    if folder.is_dir():
        return folder
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder()) as work:
        by_hand = cache_folder() / release.wheel
        wheel = by_hand if by_hand.exists() else _download(release, Path(work))
        _require_hash(wheel, release.sha256)
        _unpack(wheel, release, unpacked := Path(work) / "unpacked")
        _publish(unpacked, folder)
    return folder


def is_here(release: Release) -> bool:
    """Whether a release's files are on this machine, so that `fetch` would bring none."""
    return _folder(release).is_dir()


def _folder(release: Release) -> Path:
    return cache_folder() / f"sglang-{release.version}-{_kept(release)}"


def _publish(unpacked: Path, folder: Path) -> None:
    try:
        unpacked.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was quicker
            raise


def _kept(release: Release) -> str:
    """Tells a cache of other files, or of another wheel, from this release's."""
    return hashlib.sha256(repr((release.sha256, release.modules, release.sources)).encode()).hexdigest()[:8]


def _download(release: Release, into: Path) -> Path:
    command = [sys.executable, *_PIP, *_PLATFORM, *_PATIENCE, "--dest", str(into), release.name]
    done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    wheel = into / release.wheel
    if done.returncode or not wheel.exists():
        errors = [line for line in done.stderr.splitlines() if line.strip()] or ["it brought another file"]
        raise NotFetched(
            f"{release.name} could not be fetched with pip: {errors[-1].removeprefix('ERROR: ')}; put "
            f"{release.wheel} into {cache_folder()}, or name a folder that has it in NSA_CORE_RELEASES"
        )
    return wheel


def _require_hash(wheel: Path, sha256: str) -> None:
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != sha256:
        raise NotFetched(f"{wheel} has sha256 {found}, but the release's is {sha256}; remove it and fetch it again")


def _unpack(wheel: Path, release: Release, into: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        names = [name for name in packed.namelist() if _is_needed(name, release)]
        packed.extractall(into, names)


def _is_needed(name: str, release: Release) -> bool:
    if name.startswith(release.sources) or name.endswith(".dist-info/licenses/LICENSE"):
        return True
    module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return name.endswith(".py") and runs(release, module)


def runs(release: Release, module: str) -> bool:
    """Whether a module's own code runs; else a stand-in takes its place."""
    below = [name.removesuffix(".*") for name in release.modules if name.endswith(".*")]
    return module in (*release.modules, *below) or module.startswith(tuple(f"{name}." for name in below))
