"""Do sentences about releases say what was recorded, and does a release found here say what its recording says?"""

import pytest
from release_runs import require

from nsa_core.lab.bench.evidence import NotMeasured
from nsa_core.lab.releases import recorded
from nsa_core.lab.releases.recorded import CASES, GPUS, TIMED, Audited

SCHEDULE = "paged_mqa_schedule_metadata"
STALE = ((1, 100_000), (4, 100_000), (8, 32_768), (32, 8_192), (32, 65_536))


def of_decode(version, sets, flags=""):
    key = (version, flags, "decode", sets)
    return next(a for a in recorded.audits() if (a.version, a.flags, a.mode, a.sets) == key)


def test_every_design_was_timed_beside_one_launch_on_both_gpus():
    for gpu in GPUS:
        for version in TIMED:
            for steps in CASES:
                theirs, ours = (recorded.timed(version, steps, name, gpu) for name in (None, "graph"))
                assert theirs["run"] == ours["run"] and theirs["loop_us"] > 10 * ours["loop_us"]


def test_what_was_not_recorded_is_named():
    with pytest.raises(NotMeasured, match="record-4 on sglang==0.5.9"):
        recorded.timed("0.5.9", 4)


@pytest.mark.parametrize("gpu", GPUS)
def test_a_stale_plan_takes_as_long_as_its_busiest_multiprocessor(gpu):
    for requests, tokens in STALE:
        found = recorded.stale(requests, tokens, gpu)
        assert found["busiest_stale"] == -(-tokens // 256) * max(1, requests // 132)
        assert 0.5 < found["stale_us"] / found["busiest_stale"] < 0.75, (requests, tokens)


def test_the_transcripts_are_read_as_they_stand():
    assert of_decode("0.5.23", 2).findings == ()
    assert of_decode("0.5.7", 3, "SGLANG_NSA_ENABLE_MTP_PRECOMPUTE_METADATA=0").findings == ()
    assert of_decode("0.5.23", 4) == Audited(
        "0.5.23",
        "",
        "decode",
        4,
        (("not refreshed", SCHEDULE, "0-2"), ("steps differ", SCHEDULE, "3"), ("error swallowed", "-", "-")),
    )


def test_a_release_on_this_machine_says_what_its_recording_says():
    require("sglang==0.5.7")
    assert recorded.audit("0.5.7", 3) == of_decode("0.5.7", 3)


def test_without_the_files_the_recording_answers(monkeypatch, tmp_path):
    monkeypatch.setenv("NSA_CORE_RELEASES", str(tmp_path))
    monkeypatch.setattr(recorded.subprocess, "run", None)
    assert recorded.audit("0.5.23", 3).findings == (("not refreshed", SCHEDULE, "0-2"),)
