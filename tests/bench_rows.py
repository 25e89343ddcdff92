"""A recording made up from chosen numbers, so that claims and decisions can be tested without a GPU."""

from nsa_core.lab.bench.evidence import STEPS_CASES
from nsa_core.lab.bench.floors import EMPTY_LAUNCH, ONE_NODE_GRAPH, TINY_COPY
from nsa_core.lab.bench.parts import CACHED, COPY_ALL, COPY_ONE, ONE_COPY, PRECOMPUTE, REBUILT, SEVEN_COPIES, SLICED

CONDITIONS = {
    "machine": "A GPU",
    "device": "cuda",
    "gpu": "A GPU",
    "driver": "1",
    "torch": "2",
    "triton": "3",
    "commit": "c" * 40,
    "dirty": False,
    "date": "2026-01-01T00:00:00+00:00",
    "warm_loops": True,
}

EXACT = {"contract": "exact", "checked_cells": 100}

# What the record says, and what an H200 said of the original code in November 2026.
AS_RECORDED = {
    "eager": {4: 700, 8: 1400},
    "copy": {4: 235, 8: 295},
    "batched": {4: 220, 8: 280},
    "graph": {4: 230, 8: 290},
    "compute": 175,
    "copy one": 25,
    "batched one": 16,
    "share": 0.10,
    "launch": 2.5,
    "copy device": 20,
    "parts": {"to(int32)": 5, "cumsum": 15, "table gather": 20, "clamp": 30, "page transform": 40, "cat/arange": 50},
    "seven": {"copy": 28.7, "batched-each": 41, "batched": 19.38},
    "transform": {SLICED: 20, CACHED: 20, REBUILT: 40},
    "contiguous": (6, 7),
    "operation": "memcpy",
    "lines": 480,
}
AS_ON_AN_H200 = AS_RECORDED | {
    "eager": {4: 834, 8: 1992},
    "copy": {4: 471, 8: 692},
    "batched": {4: 606, 8: 1038},
    "graph": {4: 4.7, 8: 9.1},
    "compute": 201,
    "copy one": 89.3,
    "batched one": 107.1,
    "share": 0.6,
    "launch": 8,
    "copy device": 36.5,
    "contiguous": (4, 6),
    "operation": "kernel",
    "lines": 239,
}


def spreads(us, **more):
    """The columns of a time with a spread of 1% to both sides."""
    row = {"device_ops": None}
    for name in ("host_us", "loop_us", "latency_us", "device_us"):
        value = more.get(name, us)
        row |= {name: value, f"{name}_q1": value * 0.99, f"{name}_q3": value * 1.01, f"{name}_n": 9}
    return row


def row(case, kind, name, us=None, strategy=None, **more):
    times = {} if us is None else spreads(us, **more)
    given = {"case": case, "kind": kind, "name": name, "strategy": strategy, "flashmla": "none"}
    return (
        CONDITIONS | given | times | {"bytes_generate": 600_000} | {k: v for k, v in more.items() if k not in times}
    )


def recording(numbers, **conditions):
    rows = [*_replays(numbers), *_parts(numbers), *_facts(numbers)]
    return [r | conditions for r in rows]


def _replays(n):
    for steps, case in STEPS_CASES.items():
        for name in ("eager", "copy", "batched", "graph"):
            if steps in n[name]:
                device = n["copy device"] if name == "copy" else n[name][steps] / 10
                yield row(case, "strategy", name, n[name][steps], name, device_us=device, **EXACT)
        if steps in n["copy"]:
            yield row(
                case, "strategy", "fused", n["graph"][steps] * 3, "fused", **EXACT | {"contract": "live prefix"}
            )
            yield row(case, "part", COPY_ALL, n["copy"][steps] * n["share"], "copy")
            yield row(case, "part", PRECOMPUTE, n["copy"][steps] * (1 - n["share"]))
            yield from (row(case, "floor", name, n["launch"]) for name in (TINY_COPY, ONE_NODE_GRAPH, EMPTY_LAUNCH))


def _parts(n):
    yield row("record-4", "part", COPY_ONE, n["copy one"], "copy")
    yield row("record-4", "part", COPY_ONE, n["batched one"], "batched")
    yield row("record-4", "part", ONE_COPY, n["launch"], "copy")
    yield from (row("precompute-parts", "part", name, us) for name, us in (n["parts"] | n["transform"]).items())
    yield from (row("seven-copies", "part", SEVEN_COPIES, us, name) for name, us in n["seven"].items())
    for mib, us, rate in ((0.25, 2, 250.0), (1024, 500, 4000.0)):
        yield row("floors", "bandwidth", f"copy of {mib} MiB", us, bytes=int(mib * 2**21), gb_per_s=rate)


def _facts(n):
    flat, copies = n["contiguous"]
    for case in ("record-4", "target_verify-steps-4", "draft_extend-steps-4"):
        yield row(
            case, "plan", COPY_ONE, copies=copies, contiguous_copies=flat, copied_bytes=1000, contiguous_bytes=10
        )
    yield row("flashmla-dense-decode", "strategy", "copy", 300, "copy", **EXACT) | {"flashmla": "dense"}
    yield row("facts", "fact", "steps are equal", value=True, cells=1000)
    yield row("facts", "fact", "source lines", strategy="batched", value=n["lines"])
    missing = "'NSAFlashMLAMetadata' object has no attribute 'is_contiguous'"
    yield row("facts", "fact", "FlashMLA metadata.is_contiguous()", value=missing)
    yield row("facts", "copy", "cache_seqlens_int32", operation="memcpy", contiguous=True)
    yield row("facts", "copy", "page_table_1", operation=n["operation"], contiguous=False)
