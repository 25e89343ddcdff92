"""Notebook kernels run as `make lab` runs them: without the Triton interpreter that the unit tests switch on."""

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    # The first cell's setup starts the kernel, which inherits this process's environment.
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TRITON_INTERPRET", raising=False)
        return (yield)
