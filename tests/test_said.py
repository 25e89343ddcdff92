"""Does what the pages say in words still hold? A recording that turns one of these red asks for another sentence."""

import pytest

from nsa_core.lab.bench.evidence import PLANS, STEPS_CASES
from nsa_core.lab.decision.criteria import SIGNIFICANT
from nsa_core.lab.decision.note import SPEED_UPS
from nsa_core.lab.explore.said import (
    alone,
    best,
    call,
    copied,
    delta,
    device_us,
    equal_cells,
    evidence,
    exposed,
    fitted,
    forms,
    gain,
    map_border,
    plan,
    released,
    share,
    third_replay,
    us,
)

HOLDS = {
    "00: computing once gains, and less than the note says": lambda: all(1 < gain(n) < SPEED_UPS[n] for n in (4, 8)),
    "00: the reverted kernel is slower than plain copies": lambda: us(4, "batched") > us(4, "copy"),
    "00: copies take far more than a tenth, and more than half with 8 steps": lambda: (
        share(4) > 0.2 and share(8) > 0.5
    ),
    "00: one recorded kernel is much faster than copies": lambda: us(4, "graph") < us(4, "copy") / 10,
    "00: a release with a batched copy refreshes faster": lambda: released("0.5.10.post1", 4) < released("0.5.7", 4),
    "04: the CPU's asking takes the time": lambda: all(device_us(4, s) < us(4, s) / 4 for s in ("eager", "copy")),
    "04: all sets were equal": lambda: all(map(equal_cells, ("decode", "target_verify", "draft_extend"))),
    "02: a verify has more to write than a draft step": lambda: (
        third_replay("target_verify")["cells"] > third_replay()["cells"]
    ),
    "03: not all rows are in use": lambda: (
        third_replay("draft_extend")["rows"] < third_replay("draft_extend")["captured_rows"]
    ),
    "04: computing once is faster, the more so the more steps": lambda: (
        1 < gain(2) < gain(4) < gain(8) < fitted().speed_up_limit
    ),
    "04: copies cost more than the note's totals assume": lambda: alone("copies of 1 step", strategy="copy") > 15,
    "05: the note's form is slower everywhere": lambda: forms("batched")[-1] < 1,
    "05: the note's form is slower on seven flat copies, too": lambda: seven("batched") > seven("copy"),
    "05: fewer operations are less work for the GPU, and not for the host": lambda: (
        device_of("batched-steps") < device_of("batched") < device_of("copy")
        and host_of("batched-steps") > 0.75 * host_of("copy")
        and host_of("batched") > host_of("copy")
    ),
    "05: one launch for all sets beats plain copies with 16 steps, foreach on seven flat copies": lambda: (
        by_steps("batched-steps")[-1] > 1 and seven("foreach") < seven("copy")
    ),
    "05: describing costs more than the copies": lambda: (
        alone("copies of 1 step", "host_us", "batched") > alone("copies of 1 step", "host_us", "copy")
    ),
    "05: one launch for all sets does better with 16 steps than with one": lambda: (
        by_steps("batched-steps")[-1] > by_steps("batched-steps")[0]
    ),
    "05: foreach is best at full width": lambda: (
        evidence().faster("decode-full-width", "foreach").median == forms("foreach")[-1]
    ),
    "05: flat copies are memory copies, strided ones kernels": lambda: (
        not copied("kernel", contiguous=True) and not copied("memcpy", contiguous=False)
    ),
    "06: foreach is fast enough where tables are as wide as the longest request, and only there": lambda: (
        [plan for plan, case in PLANS.items() if evidence().faster(case, "foreach").low >= SIGNIFICANT]
        == ["decode, full width"]
    ),
    "06: the fastest that writes every cell has one set for all draft steps": lambda: (
        best(4, "exact").name == "shared"
    ),
    "07: the border of one set, with 4 steps, lies between two recorded refreshes": lambda: (
        gain_of_one_set("decode-context-64k") < SIGNIFICANT <= gain_of_one_set("decode-context-128k")
    ),
    "07: the map's border lies between the same two": lambda: 32 * 65536 < map_border(4) <= 32 * 131072,
    "07: a kernel costs a round more than the GPU works on it": lambda: (
        exposed("32x4k-steps-8", "fused") > device_us(8, "fused")
    ),
    "07: a table that nobody reads costs more than seven sets too many": lambda: (
        exposed("32x64k-steps-8-real-table", "fused") < exposed("32x64k-steps-8", "shared+fused")
    ),
    "07: one set and one table bring most of what writing only the changes brings": lambda: (
        delta("fused") - delta("shared+fused, real table") > 0.9 * (delta("fused") - delta("shared+delta"))
    ),
    "07: planning in one launch beats tensor operations, DeepGEMM's own kernel beats both, on the CPU": lambda: all(
        2 * plan(rows, "deep_gemm", "gpu") < plan(rows, "deep_gemm") < plan(rows, "launch") < plan(rows, "operations")
        for rows in (32, 512)
    ),
    "07: bytes cannot be hidden": lambda: all(
        exposed("32x64k-steps-8", "fused", "forked", gpu) > 0.8 * exposed("32x64k-steps-8", "fused", gpu=gpu)
        for gpu in ("h200", "h100")
    ),
    "07: other tensors in each call are for fused": lambda: call("fused", "new") < call("graph", "new"),
}


def gain_of_one_set(case):
    return evidence().faster(case, "shared+graph", "graph").median


def device_of(strategy):
    return alone("copies of N steps", "device_us", strategy)


def host_of(strategy):
    return alone("copies of N steps", "host_us", strategy)


def seven(strategy):
    return alone("seven int32 copies", strategy=strategy, case="seven-copies")


def by_steps(name):
    return [evidence().faster(case, name).median for case in STEPS_CASES.values()]


@pytest.mark.parametrize("sentence", HOLDS)
def test_what_a_page_says_in_words_was_measured(sentence):
    assert HOLDS[sentence]()
