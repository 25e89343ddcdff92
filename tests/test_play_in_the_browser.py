"""Does a page without a kernel answer as the kernel's session does: same frames, same controls, same refusals?"""

import json
import random
import subprocess

import pytest
from test_rules_in_the_browser import FRONT, NODE, node, same  # noqa: F401

from nsa_core import ForwardMode
from nsa_core.lab.explore.page import explorer_model, explorer_values
from nsa_core.lab.explore.setup import Setup
from nsa_core.lab.explore.story import STORY
from nsa_core.lab.explore.trace_batches import full_size
from nsa_core.lab.explore.widget import Explorer

RUN = """
import { Session } from "./play.js";
import { readFileSync } from "node:fs";
const plain = (key, value) => (ArrayBuffer.isView(value) ? [...value] : value);
const { given, intents } = JSON.parse(readFileSync(0, "utf8"));
const session = new Session(given);
const answers = [{ at: given.at, state: session.state() }, ...intents.map((intent) => session.ask(intent))];
process.stdout.write(JSON.stringify(answers, plain));
"""
EXACT = ("eager", "copy", "foreach", "shared")
CHOICES = {
    "mode": ("decode", "target_verify", "draft_extend", "draft_extend_fixed"),
    "strategy": EXACT,
    "tables": ("both", "page_table_1", "real_page_table"),
    "page_size": ("1", "2", "4", "8"),
    "draft_step": ("0", "1", "2"),
    "compare": ("", "before", "step:1", "strategy:eager", "strategy:shared", "tables:page_table_1"),
}


def played(given, intents):
    asked = json.dumps({"given": given, "intents": intents})
    done = subprocess.run(
        [NODE, "--input-type=module", "-e", RUN], input=asked, capture_output=True, text=True, cwd=FRONT
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def answered(explorer, intents):
    """What the kernel's explorer answers to the same."""
    answers = [{"at": explorer.at, "state": explorer.state}]
    for intent in intents:
        explorer.ask(**intent)
        answers.append({"at": explorer.at, "state": explorer.state})
    return json.loads(json.dumps(answers))


def wish(draw, explorer):
    """Something that a reader may do with what is on the screen, sensible or not."""
    at, last = draw.randrange(len(explorer.state["frames"])), explorer.session.view.rosters
    names = [request.name for request in last[at]]
    kind = draw.choice(["set", "set", "set", "length", "accepted", "finish", "admit", "reset"])
    if kind == "set":
        name = draw.choice(list(CHOICES))
        return {"at": at, "set": name, "value": draw.choice(CHOICES[name])}
    if kind in ("length", "accepted"):
        return {"at": at, "edit": draw.choice(names), kind: draw.choice([-1, 0, 1, 2, 5, 9, 21, 24, 30])}
    if kind == "finish" and len(names) > 1:
        return {"at": at, "finish": draw.choice(names)}
    return {"at": at, "reset": True} if kind == "reset" else {"at": at, "admit": 5}


def compare(theirs, ours):
    assert theirs["at"] == ours["at"]
    one, other = theirs["state"], ours["state"]
    for key in ("compared", "edit", "refusal"):
        assert one[key] == other[key], key
    assert [strip(control) for control in one["controls"]] == [strip(control) for control in other["controls"]]
    cells = 0
    for frames in ("frames", "others"):
        for a, b in zip(one[frames], other[frames], strict=True):
            cells += same(a, b)
            assert (a["note"], a["draft_step"]) == (b["note"], b["draft_step"])
            assert all(a["cost"][name] == b["cost"][name] for name in ("launches", "copies", "captured"))
    return cells


def strip(control):
    """Without the reasons why a strategy cannot run on this machine: rules need none."""
    return control | {"options": [option | {"why": None} for option in control["options"]]}


@pytest.mark.parametrize("mode", [ForwardMode.DECODE, ForwardMode.TARGET_VERIFY, ForwardMode.DRAFT_EXTEND])
def test_a_reader_gets_the_same_answers_with_and_without_a_kernel(mode):
    setup, draw, intents = Setup(mode, bs=4, draft_tokens=3), random.Random(mode.value), []
    explorer = Explorer(setup, at=2)
    for _ in range(25):
        intents.append(wish(draw, explorer))
        explorer.ask(**intents[-1])
    pages = played(explorer_model(stored(setup, STORY, (), 2)), intents)
    kernel = answered(Explorer(setup, at=2), intents)
    cells = sum(compare(page, answer) for page, answer in zip(pages, kernel, strict=True))
    refused = sum(bool(answer["state"]["refusal"]) for answer in kernel)
    print(f"{mode.value}: {len(intents)} wishes, {refused} refused, {cells:,} cells are the same")
    assert refused >= 2


def test_recorded_requests_play_as_well():
    setup = Setup(bs=16, width=4096, page_size=64, topk=2048)
    recorded = [full_size(setup, iteration) for iteration in (2000, 2060)]
    intents = [{"at": 1, "set": "strategy", "value": "eager"}, {"at": 1, "set": "compare", "value": "before"}]
    pages = played(explorer_model(stored(setup, (), recorded, 1)), intents)
    kernel = answered(Explorer(setup, recorded=recorded, at=1), intents)
    print(f"recorded: {sum(compare(page, answer) for page, answer in zip(pages, kernel, strict=True)):,} cells")


def stored(*arguments):
    return json.loads(json.dumps(explorer_values(*arguments)))
