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


def pytest_runtest_setup(item):
    if HAS_CUDA or item.get_closest_marker("cuda") is None:
        return
    missing = "needs a CUDA device; torch.cuda.is_available() is False"
    if os.environ.get("NSA_CORE_REQUIRE_CUDA") == "1":
        pytest.fail(f"NSA_CORE_REQUIRE_CUDA=1, but this test {missing}", pytrace=False)
    pytest.skip(missing)
