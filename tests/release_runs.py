"""Runs of real releases, each in a process of its own; skipped by name where a release cannot be had or run."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from device import DEVICE

from nsa_core.lab.releases import NotFetched, fetch, missing_packages, release_named
from nsa_core.lab.releases.table import PRECOMPUTE, RELEASES

ROOT = Path(__file__).resolve().parents[1]
OFF = f"{PRECOMPUTE}=0"  # every step computes everything, also where a release can compute once
WAYS = [(name, flags) for name, r in RELEASES.items() for flags in ((), (OFF,)) if not flags or PRECOMPUTE in r.flags]
IDS = [" ".join((name, *flags)) for name, flags in WAYS]

each_way = pytest.mark.parametrize(("name", "flags"), WAYS, ids=IDS)
each_release = pytest.mark.parametrize("name", RELEASES)


def require(name):
    """Skip where the release is neither here nor to be fetched, or lacks a package on this device."""
    try:
        fetch(release_named(name))
    except NotFetched as reason:
        pytest.skip(str(reason))
    missing = missing_packages(release_named(name), torch.device(DEVICE))
    if missing and os.environ.get("NSA_CORE_REQUIRE_CUDA") == "1":
        pytest.fail(missing, pytrace=False)
    if missing:
        pytest.skip(missing)


def run(what, name, flags=()):
    """What `drive_release.py` prints. A JIT compiler may need minutes on a GPU."""
    require(name)
    return _driven(what, name, flags)


@functools.cache
def _driven(what, name, flags):
    command = [sys.executable, str(ROOT / "tests" / "drive_release.py"), what, name, DEVICE, *flags]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def environment(**more):
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return os.environ | {"PYTHONPATH": path} | more


def command(*words, **more):
    """`python -m nsa_core ...` in a process of its own."""
    line = [sys.executable, "-m", "nsa_core", *words]
    return subprocess.run(line, cwd=ROOT, env=environment(**more), capture_output=True, text=True, timeout=900)
