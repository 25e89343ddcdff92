"""Does a page without a kernel show, cell for cell, what the package's replays write, and what SGLang's own wrote?

The rules of a replay are written a second time, for browsers, in front/rules.js. Here Node runs that module.
"""

import json
import os
import random
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from test_golden_replays import FILES, Golden
from test_scene_on_golden_replays import given

from nsa_core import strategies
from nsa_core.audit import oracle as audited
from nsa_core.lab.explore.observe import Observation
from nsa_core.lab.explore.page import batch_values, setup_values
from nsa_core.lab.explore.scene import cells_of, everybody, scene
from nsa_core.lab.explore.session import MODES, TABLE_CHOICES
from nsa_core.lab.explore.setup import Setup
from nsa_core.lab.explore.story import Request, batches

FRONT = Path(__file__).resolve().parents[1] / "nsa_core/lab/explore/front"
NODE = shutil.which("node")
RUN = """
import { Captured, everybody } from "./rules.js";
import { readFileSync } from "node:fs";
const plain = (key, value) => (ArrayBuffer.isView(value) ? [...value] : value);
const scenes = JSON.parse(readFileSync(0, "utf8")).map(({ setup, batches }) => {
  const captured = new Captured(setup), people = everybody(batches);
  return batches.map((batch) => (captured.replay(batch), captured.scene(people, "")));
});
process.stdout.write(JSON.stringify(scenes, plain));
"""
SEEDS = 40


@pytest.fixture(autouse=True, scope="module")
def node():
    if NODE is None:
        lacking = "node is not on the PATH, so the browser's rules are not compared: apt-get install nodejs"
        pytest.fail(lacking) if os.environ.get("CI") == "true" else pytest.skip(lacking)


def in_the_browser(cases):
    """The scenes of each case, a case being a setup and its batches."""
    asked = [{"setup": setup_values(setup), "batches": list(map(batch_values, given))} for setup, given in cases]
    done = subprocess.run(
        [NODE, "--input-type=module", "-e", RUN], input=json.dumps(asked), capture_output=True, text=True, cwd=FRONT
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def observed(setup, given):
    """The same scenes, by the package's own replays."""
    observation, people, scenes = Observation(setup), everybody(given), []
    for batch in given:
        observation.replay(batch)
        scenes.append(scene(observation, 0, people))
    return scenes


KEYS = ("values", "states", "ages", "owners")
FACTS = ("replay", "mode", "fixed_width", "strategy", "contract", "page_size", "topk", "draft_tokens", "people")
FACTS += ("requests", "rows", "pages", "draft_steps", "differing_fields")


def same(theirs, ours):
    """Everything that a scene says; returns the number of cells compared."""
    assert {key: theirs[key] for key in FACTS} == {key: ours[key] for key in FACTS}
    assert theirs["cost"]["captured"] == ours["cost"]["captured"]
    assert [field["name"] for field in theirs["fields"]] == [field["name"] for field in ours["fields"]]
    cells = 0
    for one, other in zip(theirs["fields"], ours["fields"], strict=True):
        assert [one[key] for key in ("shape", "tokens", "same_as")] == [
            other[key] for key in ("shape", "tokens", "same_as")
        ]
        for key in KEYS:
            assert one[key] == cells_of(other, key).flatten().tolist(), (one["name"], key)
        cells += len(one["values"])
    return cells


def random_case(seed, strategy="copy"):
    """A setup and seven batches in which requests come, grow, shrink and go."""
    draw = random.Random(seed)
    mode = draw.choice(list(MODES))
    sizes = {"bs": draw.randint(1, 6), "width": draw.randint(8, 40), "page_size": draw.choice([1, 2, 4, 8, 16])}
    sizes |= {"topk": draw.randint(1, 20), "draft_tokens": draw.randint(1, 5), "steps": draw.randint(1, 4)}
    tables = draw.choice(list(TABLE_CHOICES.values()))
    setup = replace(Setup(tables=tables, strategy=strategy, **sizes), **MODES[mode][1])
    roster, rosters = (), []
    for name in "ABCDEFG":
        roster = tuple(r for r in roster if draw.random() < 0.8)
        if len(roster) < setup.bs:
            roster += (Request(name, 0),)
        roster = tuple(
            replace(
                r, length=(n := draw.randint(0, setup.longest)), accepted=draw.randint(0, min(n, setup.draft_tokens))
            )
            for r in roster
        )
        rosters.append(roster)
    return setup, batches(rosters, setup)


@pytest.mark.parametrize("strategy, seeds", {"copy": SEEDS, "eager": 10, "shared": 10, "fused": 10}.items())
def test_random_batches_give_the_scenes_of_the_packages_own_replays(strategy, seeds):
    if not strategies("cpu")[strategy].available:
        pytest.skip(f"{strategy}: {strategies('cpu')[strategy].reason}")
    cases, cells = [random_case(seed, strategy) for seed in range(seeds)], 0
    for case, theirs in zip(cases, in_the_browser(cases), strict=True):
        for one, other in zip(theirs, observed(*case), strict=True):
            cells += same(one, other)
    print(f"{strategy}: {cells:,} cells of {7 * seeds} replays are the same")
    assert cells > 1_000 * seeds


def golden_case(path):
    golden = Golden(path)
    config = golden.config
    sizes = {"page_size": config.page_size, "topk": config.index_topk, "draft_tokens": config.num_draft_tokens}
    setup = Setup(golden.mode, golden.bs, golden.table.shape[1], steps=1, **sizes)
    return golden, setup, [given(golden, i) for i in golden.replays]


def test_the_recorded_replays_are_the_pages_cell_for_cell():
    every, cells = [golden_case(path) for path in FILES], 0
    pages = in_the_browser([(setup, given_) for _, setup, given_ in every])
    for (golden, _, _), scenes in zip(every, pages, strict=True):
        for i, page in zip(golden.replays, scenes, strict=True):
            fields = {field["name"]: field for field in page["fields"]}
            for name, recorded in golden.buffers(i).items():
                values, ages = (np.array(fields[name][key]).reshape(recorded.shape) for key in ("values", "ages"))
                assert ((recorded != oracle.POISON) == (ages != 0)).all(), name
                assert (values == recorded)[ages != 0].all(), name
                cells += recorded.size
    print(f"{cells:,} cells of {len(FILES)} recorded files are the same")
    assert cells > 50_000


def test_a_live_prefix_replay_keeps_what_the_oracle_promises():
    cases, cells = [random_case(seed, "fused") for seed in range(SEEDS)], 0
    for (setup, given_), scenes in zip(cases, in_the_browser(cases), strict=True):
        for batch, page in zip(given_, scenes, strict=True):
            fields = {field["name"]: torch.tensor(field["values"]) for field in page["fields"]}
            fields |= {
                field["name"]: fields[field["name"]].view(field["shape"])
                for field in page["fields"]
                if field["tokens"]
            }
            asked = audited.expected(setup.config, batch.table, batch.padded(setup), setup.mode, fields)
            for name, wanted in asked.items():
                assert not wanted.wrong(fields[name], "live prefix").any(), name
                cells += int(wanted.live.sum())
    print(f"live prefix: {cells:,} live cells are the oracle's")
    assert cells > 10_000
