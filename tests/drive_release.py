"""Drives one release in a process of its own and prints what came of it as JSON; `release_runs.py` starts it.

python tests/drive_release.py audit|compare RELEASE DEVICE [FLAG=0 ...]
"""

import json
import sys

import torch

import nsa_core as nsa
from nsa_core.audit.captured_set import sms_of_schedule
from nsa_core.audit.cases import Limits, default_cases
from nsa_core.audit.compare import Comparison
from nsa_core.audit.own import token_table
from nsa_core.lab.releases import engine_of, release_named
from nsa_core.lab.releases.audit import audit_of, functions_run, loaded_with, quiet
from nsa_core.lab.releases.table import DECODE, EXTEND, MODES

BS, WIDTH, POOL = 3, 333, 7
STEPS = {"cpu": (2, 4), "cuda": (1, 2, 3, 4, 6)}  # of decode; in other modes a release has one backend
CONFIG = nsa.NSAConfig(index_topk=96, num_draft_tokens=4, max_context_len=WIDTH)
POISON = -0x5A5A5A5B
INTERPRETED, INTERPRETED_BATCHES = ("batched", "fused"), 5  # Triton's interpreter is slow


def new_engine(loaded, device, steps):
    return engine_of(loaded, CONFIG, token_table(POOL, WIDTH, 64, device).contiguous(), steps)


def audited(loaded, device, mode, all_steps):
    """By number of draft steps: what the audit found, under which contract, and which functions ran."""
    found = {}
    for steps in all_steps:
        engine = new_engine(loaded, device, steps)
        report = audit_of(engine, mode)
        ones = torch.ones(engine.bs, dtype=torch.int64, device=device)
        found[str(steps)] = {
            "findings": [[finding.kind, finding.field, finding.step] for finding in report.findings],
            "fields": report.fields,
            "ran": functions_run(loaded.folder, lambda e=engine, n=ones: e.refresh(nsa.ReplayBatch(n, n, n))),
            "text": str(report),
        }
    return found


def compared(loaded, device, mode, all_steps):
    """By strategy: the fields and steps that the release's refresh and the strategy's leave different."""
    engine = new_engine(loaded, device, max(all_steps))
    sets = engine.capture(BS, mode)
    config = nsa.NSAConfig(**vars(CONFIG) | {"paged_mqa_num_sms": sms_of_schedule(sets[0])})
    batches, found = engine_batches(engine, mode, device), {}
    for name, info in nsa.strategies(device).items():
        interpreted = info.needs_triton and device.type == "cpu"
        if not info.available or name.startswith("shared") or (interpreted and name not in INTERPRETED):
            continue
        backend = nsa.MultiStepBackend(config, engine.req_to_token, max(all_steps), strategy=name)
        backend.adopt(BS, mode, sets)
        exact = info.contract == "exact" and loaded.release.exact
        places = [
            differing(engine, backend, sets, b, mode, exact)
            for b in batches[: INTERPRETED_BATCHES if interpreted else None]
        ]
        found[name] = {"exact": exact, "batches": len(places), "differ": sorted(set().union(*places))}
    return found


def engine_batches(engine, mode, device):
    """The audit's batches, as the release's engine forms them."""
    fixed_width, longest = engine.release.fixed_width and mode is EXTEND, WIDTH - CONFIG.length_growth(mode, 0)
    limits = Limits(CONFIG, mode, BS, POOL, longest, fixed_width, engine_batches=True)
    return [case.batch(device) for case in default_cases(limits)]


def differing(engine, backend, sets, batch, mode, exact):
    """Cells poisoned before each: all of them are compared where both are exact, else those a reader may look at."""
    comparison = Comparison(sets, backend.config, engine.req_to_token, mode, "exact" if exact else "live prefix")
    after = []
    for refresh in (engine.refresh, lambda batch: backend.replay(batch, mode)):
        comparison.poison(POISON)
        refresh(batch)
        after.append(comparison.snapshot())
    places = set()
    for step, (theirs, ours, cells) in enumerate(zip(*after, comparison.expected(batch), strict=True)):
        for field in theirs:
            differ = theirs[field] != ours[field]
            if not exact:
                differ = cells[field].corner(differ) & cells[field].live
            if bool(differ.any()):
                places.add((field, step))
    return places


def main(what, name, device, *flags):
    torch.set_num_threads(1)
    device, release = torch.device(device), release_named(name)
    loaded, result = loaded_with(release, device, flags), {}
    with quiet() as said:
        for mode in MODES if device.type == "cuda" else release.cpu_modes:
            steps = STEPS[device.type] if mode is DECODE else (1,)
            result[mode.value] = {"audit": audited, "compare": compared}[what](loaded, device, mode, steps)
    print(json.dumps(result | {"said": sorted(set(said.getvalue().splitlines()))}))


if __name__ == "__main__":
    main(*sys.argv[1:])
