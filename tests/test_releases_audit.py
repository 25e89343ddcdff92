"""Does the audit find in each release of SGLang what is wrong with it, and nothing else?"""

import pytest
from device import DEVICE
from release_runs import OFF, command, each_way, require, run

from nsa_core.lab.releases.table import RELEASES

SCHEDULE = "paged_mqa_schedule_metadata"
ABOUT_NO_CELL = {"host synchronisation", "allocation"}
ON_GPU = DEVICE == "cuda"
STALE_WHEN_COPIED = ("sglang==0.5.7", "sglang==0.5.8", "sglang==0.5.9", "sglang==0.5.10.post1")


def expected(name, flags, steps):
    """Findings in decode. Copying forgot the schedule until 0.5.10; 0.5.23 does where it copies to three at once.

    There, an error among the copies to the sets past the third is swallowed as well.
    """
    if name in STALE_WHEN_COPIED and not flags:
        return {("not refreshed", SCHEDULE, step) for step in range(steps)}
    if name == "sglang==0.5.23" and ON_GPU and steps >= 3:
        stale = {("not refreshed", SCHEDULE, step) for step in range(3)}
        differ = {("steps differ", SCHEDULE, step) for step in range(3, steps)}
        return stale | differ | ({("error swallowed", "", None)} if steps > 3 else set())
    return set()


def of_values(audit):
    return {tuple(finding) for finding in audit["findings"] if finding[0] not in ABOUT_NO_CELL}


@each_way
def test_decode_has_the_findings_that_are_known(name, flags):
    audits = run("audit", name, flags)["decode"]
    for steps, audit in audits.items():
        assert of_values(audit) == expected(name, flags, int(steps)), audit["text"]
        assert len(audit["findings"]) == len(of_values(audit)), audit["text"]
    assert len(audits) >= 2


@pytest.mark.parametrize("mode", ("target_verify", "draft_extend"))
@each_way
def test_modes_of_one_backend_are_clean(name, flags, mode):
    audits = run("audit", name, flags)
    if mode not in audits:
        pytest.skip(f"{name} refreshes {mode} on CUDA only")
    assert of_values(audits[mode]["1"]) == set(), audits[mode]["1"]["text"]


@each_way
def test_the_schedule_is_audited_wherever_the_release_makes_one(name, flags):
    for audits in run("audit", name, flags).values():
        if isinstance(audits, dict):
            fields = next(iter(audits.values()))["fields"]
            assert (SCHEDULE in fields) == (RELEASES[name].schedule and (ON_GPU or RELEASES[name].told_cuda))


@each_way
def test_the_way_that_was_asked_for_was_taken(name, flags):
    audits = run("audit", name, flags)
    ran, release = audits["decode"]["4"]["ran"], RELEASES[name]
    computed_once = bool(release.flags or release.prefix == "dsa") and not flags
    assert ("_precompute_replay_metadata" in ran) == computed_once
    by_kernel = bool(release.kernel) and computed_once
    assert ("fused_metadata_copy_multi_cuda" in ran) == (by_kernel and ON_GPU)
    fell_back = [line for line in audits["said"] if "falling back" in line]
    assert bool(fell_back) == (by_kernel and not ON_GPU), fell_back


def test_a_report_names_release_file_function_cell_and_batch():
    require("sglang==0.5.7")
    done = command("audit", "--release", "sglang==0.5.7", "--mode", "decode", "--steps", "4")
    assert done.returncode == 1 and not done.stderr
    for words in (
        "sglang==0.5.7: computed once, copied tensor by tensor",
        "sha256 b77f9e5ca5a2ab19b3efba725958fc4de20ba97880e383738c695e8611b51100, licence Apache-2.0",
        "DECODE, 4 backends (speculative_num_steps 4), 5 requests, page size 64",
        "refreshed by NativeSparseAttnMultiStepBackend.init_forward_metadata_replay_cuda_graph, sglang/srt/layers/",
        "attention/nsa_backend.py:1742",
        "through init_forward_metadata_replay_cuda_graph, _precompute_replay_metadata, ",
        "4 findings in ",
        f"not refreshed  {SCHEDULE}  0-3 ",
        f"{SCHEDULE}[0, 0] kept what it held (",
        "seq_lens [1, 1, 1, 1, 1] int64, req_pool_indices [",
    ):
        assert words in done.stdout, done.stdout
    told = "DeepGEMM's get_paged_mqa_logits_metadata is nsa_core.schedules.schedule_paged_mqa"
    assert (told in done.stdout) == (not ON_GPU)


def test_a_clean_release_exits_with_0():
    require("sglang==0.5.7")
    done = command("audit", "--release", "sglang==0.5.7", "--mode", "decode", "--flag", OFF)
    assert done.returncode == 0 and "\nclean: " in done.stdout and OFF in done.stdout, done.stdout + done.stderr


@pytest.mark.skipif(ON_GPU, reason="a GPU runs every mode")
def test_a_mode_that_a_cpu_cannot_run_is_refused_in_one_line():
    done = command("audit", "--release", "sglang==0.5.23", "--mode", "decode", "--mode", "target_verify")
    assert done.returncode == 2 and not done.stdout
    refusal = "python -m nsa_core audit: sglang==0.5.23 refreshes target_verify on CUDA only; on a CPU it runs decode"
    assert done.stderr.count("\n") == 1 and done.stderr.startswith(refusal)
