"""Do this package's strategies write into a release's own buffers what the release itself writes there?"""

import pytest
from release_runs import OFF, each_release, run
from test_releases_audit import expected

MODES = ("decode", "target_verify", "draft_extend")


@pytest.mark.parametrize("mode", MODES)
@each_release
def test_cell_for_cell_but_for_what_the_release_leaves_stale(name, mode):
    compared = run("compare", name)
    if mode not in compared:
        pytest.skip(f"{name} refreshes {mode} on CUDA only")
    for strategy, result in compared[mode].items():
        steps = max(step for _, step in result["differ"]) + 1 if result["differ"] else 1
        stale = sorted([field, step] for kind, field, step in expected(name, (), steps) if kind == "not refreshed")
        assert result["differ"] == (stale if mode == "decode" else []), f"{strategy}: {result['differ']}"


def test_cell_for_cell_where_every_step_computes():
    compared = run("compare", "sglang==0.5.7", (OFF,))
    assert all(result["differ"] == [] for result in compared["decode"].values())


@each_release
def test_enough_was_compared(name):
    compared = run("compare", name)
    assert {"eager", "copy", "foreach"} <= set(compared["decode"])
    exact = {strategy for strategy, result in compared["decode"].items() if result["exact"]}
    assert ("copy" in exact) == (name != "sglang==0.5.23") and "fused" not in exact
    assert all(result["batches"] >= 5 for result in compared["decode"].values())
    assert compared["decode"]["copy"]["batches"] > 30
