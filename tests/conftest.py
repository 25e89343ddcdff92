"""What every test process needs before its first test: threads, the Triton interpreter, repeatable examples."""

import os

import pytest
import torch
from hypothesis import settings

HAS_CUDA = torch.cuda.is_available()

# Triton reads this where a kernel is decorated, so it has to stand before the first kernel module is imported.
if not HAS_CUDA:
    os.environ["TRITON_INTERPRET"] = "1"

torch.set_num_threads(1)

# `repeat` draws the same examples in every run; `pytest --hypothesis-profile=search` looks for new ones.
settings.register_profile("repeat", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("search", deadline=None, print_blob=True)
settings.load_profile("repeat")


# Long, and without a fixture that several tests share: their tests go to any process, those of other files to one.
SPREAD = {
    "test_audit_finds_every_corrupted_cell.py",
    "test_audit_finds_every_mutant.py",
    "test_audit_is_short.py",
    "test_audit_is_silent_on_correct_strategies.py",
    "test_golden_replays.py",
    "test_replay_matches_oracle.py",
    "test_tables.py",
}


def pytest_xdist_make_scheduler(config, log):
    """`--dist loadfile` but for SPREAD. Not loadgroup: nbval's cells have ids of their own, without a group."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path = nodeid.partition("::")[0]
            return nodeid if path.rpartition("/")[2] in SPREAD else path

    return ByFile(config, log)


def pytest_runtest_setup(item):
    if HAS_CUDA or item.get_closest_marker("cuda") is None:
        return
    missing = "needs a CUDA device; torch.cuda.is_available() is False"
    if os.environ.get("NSA_CORE_REQUIRE_CUDA") == "1":
        pytest.fail(f"NSA_CORE_REQUIRE_CUDA=1, but this test {missing}", pytrace=False)
    pytest.skip(missing)
