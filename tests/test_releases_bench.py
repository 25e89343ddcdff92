"""Does `bench --release` time a release and strategies on its buffers in turns, and record what it was?"""

import pytest
from release_runs import command, require
from test_releases_audit import ON_GPU, expected

from nsa_core.lab.bench import read
from nsa_core.lab.releases import RELEASES

SHORT = ("bench", "--case", "decode-steps-2", "--strategy", "copy", "--budget", "0.02")
WITH_FINDING, WITHOUT = "sglang==0.5.7", "sglang==0.5.6.post2"


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    for name in (WITH_FINDING, WITHOUT):
        require(name)
    path = tmp_path_factory.mktemp("bench") / "r.jsonl"
    done = command(*SHORT, "--release", f"{WITH_FINDING},{WITHOUT}", "--anyway", "--record", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    return read(path)


def test_each_release_is_timed_beside_a_strategy_and_a_floor(rows):
    for name in (WITH_FINDING, WITHOUT):
        of_release = [row for row in rows if row["release"] == name]
        assert {row["case"] for row in of_release} == {f"decode-steps-2 on {name}"}
        assert [row["name"] for row in of_release][:2] == [name, "copy"]
        assert {row["kind"] for row in of_release} == {"release", "strategy", "floor"}
        assert all(row["loop_us"] > 0 for row in of_release)


def test_a_row_says_which_wheel_and_flags_it_comes_from_and_whether_the_floor_stood_still(rows):
    for row in rows:
        assert (row["wheel_sha256"], row["flags"]) == (RELEASES[row["release"]].sha256, "")
        assert row["floor_us"] > 0 and row["floor_steady"] in (True, False)
        assert row["commit"] and row["torch"] and row["width"] == 8192


def test_what_a_release_leaves_wrong_is_in_its_row(rows):
    for row in rows:
        if row["kind"] == "release":
            stale = len(expected(row["name"], (), 2))
            assert len(row["wrong"]) == stale
            assert all("paged_mqa_schedule_metadata[0, 0] kept what it held" in fault for fault in row["wrong"])


def test_flags_are_passed_on_and_recorded(tmp_path):
    require(WITH_FINDING)
    flag = "SGLANG_NSA_ENABLE_MTP_PRECOMPUTE_METADATA=0"
    done = command(
        *SHORT, "--release", WITH_FINDING, "--flag", flag, "--anyway", "--record", str(tmp_path / "r.jsonl")
    )
    assert done.returncode == 0, done.stdout + done.stderr
    first = read(tmp_path / "r.jsonl")[0]
    assert (first["flags"], first["wrong"]) == (flag, [])


@pytest.mark.skipif(ON_GPU, reason="a GPU runs every mode")
def test_a_mode_that_a_cpu_cannot_run_is_refused():
    done = command("bench", "--release", "sglang==0.5.23", "--case", "target_verify-steps-1")
    assert done.returncode == 2 and not done.stdout
    assert "sglang==0.5.23 refreshes target_verify on CUDA only" in done.stderr
