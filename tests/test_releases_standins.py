"""Does a stand-in take part in imports and compute nothing, whatever a release does with what is raised?"""

import subprocess
import sys

import pytest
from release_runs import ROOT, environment

BACKEND = """
from sglang.srt.environ import envs
from sglang.srt.somewhere import Base, helper
from sglang.srt.utils import is_cuda, is_hip

HIP, CUDA, FLAG = is_hip(), is_cuda(), envs.SOMETHING.get()
assert not helper("at import time") and not helper.attribute

class NativeSparseAttnBackend(Base):
    def refresh(self):
        {body}

class NativeSparseAttnMultiStepBackend:
    pass
"""
DRIVE = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from nsa_core.lab.releases import RELEASES, StandInUsed, load

release = replace(RELEASES["sglang==0.5.6.post2"], modules=("sglang.srt.layers.attention.nsa_backend",))
loaded = load(release, Path(sys.argv[1]), torch.device("cpu"))
try:
    print("returned", loaded.backend().refresh())
except StandInUsed as used:
    print("ended", used)
try:
    load(release, Path(sys.argv[1]), torch.device("cpu"))
except RuntimeError as error:
    print("again", error)
"""


def driven(tmp_path, body):
    where = tmp_path / "sglang" / "srt" / "layers" / "attention"
    where.mkdir(parents=True)
    (where / "nsa_backend.py").write_text(BACKEND.format(body=body))
    command = [sys.executable, "-c", DRIVE, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_facts_are_answered_and_modules_that_do_not_run_are_stand_ins(tmp_path):
    assert driven(tmp_path, "return HIP, CUDA")[0] == "returned (False, False)"


USES = {
    "a call": "return helper(1)",
    "a condition": "return 1 if helper else 2",
    "a method": "return envs.SOMETHING.get()",
    "a call whose error is swallowed": """
        try:
            helper()
        except Exception:
            return 1""",
    "a module imported late": """
        from sglang.srt.late import other
        return other()""",
}


@pytest.mark.parametrize("body", USES.values(), ids=USES)
def test_a_stand_in_that_is_used_after_the_import_ends_the_run(tmp_path, body):
    line = driven(tmp_path, body)[0]
    assert line.startswith("ended sglang==0.5.6.post2 called sglang.srt."), line
    assert line.endswith(", which only stands in for its engine")


def test_a_second_release_in_one_process_is_refused(tmp_path):
    line = driven(tmp_path, "return None")[1]
    assert line == "again sglang is imported already; sglang==0.5.6.post2 needs a process of its own"
