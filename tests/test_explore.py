"""Does the explorer show what a replay really did, say it in words, and survive every setting?"""

import io
import itertools
import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from batches import DECODE, EXTEND, IDLE, VERIFY
from colour_vision import VISION, lab
from device import DEVICE
from PIL import Image

import nsa_core as nsa
from nsa_core.__main__ import main
from nsa_core.audit import oracle
from nsa_core.lab.explore import frame, front, picture, trace_batches, words
from nsa_core.lab.explore.observe import CONSTANT, FIELDS, CellState, Observation
from nsa_core.lab.explore.scene import NOBODY, PADDING, STATES, cells_of, everybody, runs, scene
from nsa_core.lab.explore.session import MODES, Session
from nsa_core.lab.explore.setup import Batch, Setup, interleaved_table
from nsa_core.lab.explore.story import STORY, batches, roster, told
from nsa_core.lab.explore.trace_batches import full_size, scale_model
from nsa_core.lab.explore.widget import VIEW, Explorer
from nsa_core.strategies.copy import Copy

LONG = Batch((16, 5, 14, 10), (4, 2, 3, 1))
SHORT = Batch((7, 12, 3), (2, 0, 1))
SETUPS = {
    "decode": Setup(bs=4),
    "idle": Setup(mode=IDLE, bs=4),
    "decode, pages of 1": Setup(bs=4, page_size=1),
    "verify": Setup(mode=VERIFY, bs=4),
    "verify, steps apart": Setup(mode=VERIFY, bs=4, step_offset=1),
    "extend": Setup(mode=EXTEND, bs=4),
    "extend, all steps share": Setup(mode=EXTEND, bs=4, strategy="shared"),
    "decode, fused": Setup(bs=4, strategy="fused", device=DEVICE),
    "verify, fused": Setup(mode=VERIFY, bs=4, strategy="fused", device=DEVICE),
    "extend, fused": Setup(mode=EXTEND, bs=4, strategy="fused", device=DEVICE),
}
each_setup = pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)


def observed(setup, *inputs):
    observation = Observation(setup)
    for given in inputs:
        observation.replay(given)
    return observation


def snapshot(observation):
    return [{name: tensor.clone() for name, tensor in step.tensors().items()} for step in observation.sets]


def same(one, other):
    return all(torch.equal(a[name], b[name]) for a, b in zip(one, other, strict=True) for name in a)


def counts(cells):
    return {state: int((cells == state).sum()) for state in CellState if (cells == state).any()}


# What is observed


@each_setup
def test_observed_writes_are_those_the_contract_asks_for(setup):
    observation, batch = observed(setup, LONG, SHORT), SHORT.padded(setup)
    contract = nsa.strategies("cpu")[setup.strategy].contract
    for step, written in enumerate(observation.written):
        fields, steps = observation.sets[step].tensors(), setup.steps
        asked = oracle.expected(
            setup.config, observation.table, batch, setup.mode, fields, step=step, num_steps=steps
        )
        for name, cells in asked.items():
            wanted = torch.zeros_like(written[name])
            cells.corner(wanted)[:] = cells.promised(contract).cpu()
            missed, more = wanted & ~written[name], written[name] & ~wanted
            assert not missed.any(), name
            assert contract == "live prefix" or not more.any(), name


@each_setup
def test_the_observed_sets_changed_in_observed_cells_only(setup):
    observation = observed(setup, LONG)
    before = snapshot(observation)
    observation.replay(SHORT)
    for old, new, written in zip(before, snapshot(observation), observation.written, strict=True):
        assert all(torch.equal(old[name][~mask], new[name][~mask]) for name, mask in written.items())


@each_setup
def test_every_cell_that_is_read_was_written(setup):
    observation = observed(setup, LONG, SHORT)
    for step in range(setup.steps):
        states = observation.states(step)
        assert set(states) == set(FIELDS)
        assert not any((cells == CellState.FAULT).any() for cells in states.values())


@each_setup
def test_what_no_batch_reaches_is_constant_since_capture(setup):
    ages = Observation(setup).ages[0]
    for name in ("cu_seqlens_q", "nsa_cu_seqlens_q"):
        assert (ages[name] == CONSTANT).all()
    for name in ("cu_seqlens_k", "nsa_cu_seqlens_k"):
        assert ages[name][0] == CONSTANT and (ages[name][1:] == 0).all()
    assert (ages["nsa_seqlens_expanded"] == 0).all()


@pytest.mark.cuda
@pytest.mark.parametrize("strategy", ["copy", "fused", "graph"])
@pytest.mark.parametrize("mode", [DECODE, VERIFY, EXTEND], ids=lambda mode: mode.value)
def test_a_gpu_shows_what_the_cpu_shows(mode, strategy):
    one = observed(Setup(mode=mode, bs=4), LONG, SHORT)
    other = observed(Setup(mode=mode, bs=4, strategy=strategy, device="cuda"), LONG, SHORT)
    for name, cells in one.states(1).items():
        live = cells == CellState.LIVE
        assert torch.equal(live, other.states(1)[name] == CellState.LIVE)
        assert torch.equal(one.values(1)[name][live], other.values(1)[name][live])


def test_a_field_that_is_forgotten_shows_as_a_fault(monkeypatch):
    def forgets_a_page(self, plans):
        for plan in plans:
            for dst, src in plan[:-1]:
                dst.copy_(src)
        return {"copy_": 1}

    observation = observed(Setup(bs=4), LONG)
    monkeypatch.setattr(Copy, "execute", forgets_a_page)
    observation.replay(SHORT)
    assert CellState.FAULT in counts(observation.states(0)["real_page_table"])
    assert "read, but not written" in words.summary(scene(observation, 0, everybody(observation.batches)))


def test_a_value_equal_to_a_poison_is_still_seen():
    from nsa_core.lab.explore.observe import POISONS

    table = interleaved_table(4, 24, 4)
    table[1, :2] = torch.tensor(POISONS)
    observation = observed(Setup(bs=4), Batch((2, 2), table=table))
    assert observation.written[0]["page_table_1"][0, :2].all()


def test_a_shorter_batch_leaves_a_stale_tail():
    observation = observed(Setup(bs=4), LONG, SHORT)
    assert counts(observation.states(0)["page_table_1"]) == {
        CellState.LIVE: 7 + 12 + 3 + 1,
        CellState.UNREAD: 4 * 12 - 23,
        CellState.STALE: 4 * (16 - 12),
        CellState.NEVER: 4 * (24 - 16),
    }


def test_the_two_contracts_colour_the_same_batch_differently():
    setups = (Setup(bs=4, strategy=name, device=DEVICE) for name in ("copy", "fused"))
    exact, prefix = (observed(setup, LONG, SHORT).states(0) for setup in setups)
    exact, prefix = (counts(states["page_table_1"]) for states in (exact, prefix))
    assert exact[CellState.LIVE] == prefix[CellState.LIVE]
    assert exact[CellState.UNREAD] > prefix.get(CellState.UNREAD, 0)


def test_rows_without_an_accepted_token_stay_stale():
    observation = observed(Setup(mode=EXTEND, bs=4), LONG, Batch((9, 9, 9, 9), (0, 1, 0, 0)))
    states = observation.states(0)["nsa_seqlens_expanded"]
    assert states[0] == CellState.LIVE and (states[1:10] == CellState.STALE).all()
    assert (states[10:] == CellState.NEVER).all()


def test_steps_are_equal_without_an_offset_and_differ_in_lengths_with_one():
    assert not any(any(found) for found in observed(SETUPS["verify"], LONG, SHORT).differences().values())
    apart = observed(SETUPS["verify, steps apart"], LONG, SHORT).differences()
    assert apart["cache_seqlens_int32"] == [0, 4, 4]
    assert not any(apart["page_table_1"] + apart["real_page_table"])


def test_storage_shared_by_steps_or_fields_counts_once():
    alone, shared = (observed(Setup(bs=4, strategy=name), SHORT).cells_written() for name in ("copy", "shared"))
    assert alone == 3 * shared == 3 * (4 + 4 + 4 * 12 + 4 + 4 + 4 * 3)


def test_a_refused_batch_leaves_everything_as_it_was():
    observation = observed(Setup(bs=4), LONG)
    before, table = snapshot(observation), observation.table.clone()
    with pytest.raises(ValueError, match=r"seq_lens\[1\] is 25"):
        observation.replay(Batch((3, 25), table=torch.zeros_like(table)))
    assert same(before, snapshot(observation)) and torch.equal(table, observation.table)
    assert observation.batches == [LONG]


def test_the_scale_model_repeats_itself_and_fits():
    setup = Setup(mode=EXTEND, bs=4)
    runs = [[(i.lengths, i.accepts, i.rows) for i in itertools.islice(scale_model(setup), 20)] for _ in range(2)]
    assert runs[0] == runs[1] and max(len(lengths) for lengths, _, _ in runs[0]) == 4
    observed(setup, *itertools.islice(scale_model(setup), 20))


def test_a_full_size_batch_is_the_traces_own():
    setup = Setup(mode=VERIFY, bs=4, width=4096, page_size=64, topk=2048)
    given = full_size(setup, 100)
    assert max(given.lengths) > 200 and len(given.rows) == len(given.lengths)
    assert counts(observed(setup, given).states(0)["nsa_seqlens_expanded"]) == {CellState.LIVE: 16}


def test_an_iteration_after_the_traces_end_is_refused(monkeypatch):
    monkeypatch.setattr(trace_batches, "TraceEngine", lambda *_, **__: [])
    with pytest.raises(ValueError, match="iteration is 7, but the trace 'azure' ended before it"):
        full_size(Setup(), 7)


# The scene: what the front end is given

SMALL = Setup(bs=4, draft_tokens=3)


def field_of(shown, name):
    return next(field for field in shown["fields"] if field["name"] == name)


def grid(shown, name, key):
    return cells_of(field_of(shown, name), key)


def replayed(setup, rosters=STORY):
    """Every scene of a story, and the observation they were taken from, one by one."""
    given, observation = batches(rosters, setup), Observation(setup)
    people = everybody(given)
    for batch in given:
        observation.replay(batch)
        yield observation, scene(observation, 0, people)


@pytest.mark.parametrize("mode", MODES)
def test_a_scene_holds_the_observation_cell_for_cell(mode):
    setup = Setup(bs=4, draft_tokens=3, **MODES[mode][1])
    for observation, shown in replayed(setup):
        states, values = observation.states(0), observation.values(0)
        assert {field["name"] for field in shown["fields"]} == set(FIELDS)
        for name in FIELDS:
            assert torch.equal(grid(shown, name, "values").view_as(values[name]), values[name].long())
            assert torch.equal(grid(shown, name, "ages").view_as(values[name]), observation.ages[0][name].long())
            as_observed = grid(shown, name, "states").view_as(values[name])
            as_observed = as_observed.masked_fill(as_observed == STATES.index("foreign"), CellState.STALE)
            assert torch.equal(as_observed, states[name].long())


@pytest.mark.parametrize("mode", MODES)
def test_owners_are_the_requests_of_the_rows(mode):
    setup = Setup(bs=4, draft_tokens=3, **MODES[mode][1])
    for observation, shown in replayed(setup):
        rows = [person for person, _ in shown["rows"]]
        batch = observation.batches[-1]
        expected = [
            shown["people"].index(batch.people[r.request])
            for r in observation.rows[-1][0]
            if r.request < len(batch.people)
        ]
        assert [person for person in rows if person != PADDING] == expected
        written = grid(shown, "page_table_1", "ages") == len(observation.batches)
        owners = grid(shown, "page_table_1", "owners")
        for row, person in enumerate(rows):
            assert (owners[row][written[row]] == person).all()
        assert (owners[grid(shown, "page_table_1", "ages") == 0] == NOBODY).all()


def third(strategy):
    """The story's third replay: B finished, C and D moved up, E came."""
    *_, (_, shown) = itertools.islice(replayed(replace(SMALL, strategy=strategy, device=DEVICE)), 3)
    assert [shown["people"][person] for person, _ in shown["rows"]] == ["A", "C", "D", "E"]
    return shown


def test_who_left_a_cell_and_whose_its_slot_is_are_two_things():
    shown = third("copy")
    people, owners = shown["people"], grid(shown, "page_table_1", "owners")[1, 16:20].tolist()
    assert [people[owner] for owner in owners] == ["B"] * 4  # left by B, in the row that is C's now
    slots = grid(shown, "page_table_1", "values")[1, 16:20]
    assert {people[shown["pages"][str(slot // 4)]] for slot in slots.tolist()} == {"C"}  # C was given B's page
    assert not (grid(shown, "page_table_1", "states") == STATES.index("foreign")).any()


def test_a_stale_slot_is_marked_where_it_is_another_requests_now():
    shown = third("fused")
    states, slots = (grid(shown, "page_table_1", key) for key in ("states", "values"))
    marked = states == STATES.index("foreign")
    for row, (person, _) in enumerate(shown["rows"]):
        stale = marked[row] | (states[row] == STATES.index("stale"))
        owners = [shown["pages"].get(str(slot // 4), NOBODY) for slot in slots[row].tolist()]
        assert (stale & torch.tensor([owner not in (NOBODY, person) for owner in owners])).equal(marked[row])
    assert marked[3].sum() == 9 and not marked[0].any()  # E's row was D's, which had 13 tokens


def test_topk_clips_rows_of_the_story():
    *_, (_, shown) = replayed(SMALL)
    attended, lengths = (grid(shown, f, "values")[0] for f in ("nsa_cache_seqlens_int32", "nsa_seqlens_expanded"))
    assert (attended < lengths).any() and (attended == lengths).any() and attended.max() == SMALL.topk


def test_a_scene_is_plain_data():
    for _, shown in replayed(SMALL):
        assert json.loads(json.dumps(shown)) == shown


@pytest.mark.parametrize("cells", [[], [5], [0, 0, 0], [1, 2, 3, 3, 3, 2, 9], [4, 5, 6, 7, 12, 13, 0, 0]])
def test_runs_can_be_undone(cells):
    cells = torch.tensor(cells, dtype=torch.int64)
    assert torch.equal(cells_of({"x": runs(cells), "shape": [len(cells)]}, "x"), cells)


def test_runs_of_anything_can_be_undone_and_slots_are_short():
    for seed in range(200):
        cells = torch.randint(0, 3, (seed % 40 + 1,), generator=torch.Generator().manual_seed(seed))
        assert torch.equal(cells_of({"x": runs(cells), "shape": [len(cells)]}, "x"), cells)
    assert len(runs(interleaved_table(4, 4096, 64))) <= 3 * 5 * 64


COSTS = {  # operations, of which copies into captured sets, of one decode replay of three steps
    "copy": (26, 18),
    "eager": (42, 18),
    "shared": (14, 6),
    "foreach": (9, 1),
}


@pytest.mark.parametrize("strategy", COSTS)
def test_costs_are_counted_while_a_replay_runs(strategy):
    observation, shown = next(replayed(Setup(bs=4, draft_tokens=3, strategy=strategy)))
    cost, report = shown["cost"], observation.backend.last_replay
    assert (cost["launches"], cost["copies"]) == COSTS[strategy]
    assert cost["copies"] == sum(report.paths.values())
    assert cost["captured"] == 4 * observation.cells_written() < cost["written"]
    assert cost["read"] > 0


def test_a_kernels_reads_are_not_claimed():
    _, shown = next(replayed(Setup(bs=4, draft_tokens=3, strategy="fused", device=DEVICE)))
    assert shown["cost"]["launches"] == 1 and shown["cost"]["read"] is None
    assert shown["cost"]["written"] == shown["cost"]["captured"] > 0


# The story


def test_a_story_reuses_pool_rows_and_pages():
    given = batches(STORY, SMALL)
    rows = [dict(zip(batch.names, batch.rows, strict=True)) for batch in given]
    assert rows[2]["E"] == rows[1]["B"] and all(len(set(row.values())) == len(row) for row in rows)
    assert all(row["A"] == rows[0]["A"] for row in rows if "A" in row)


@pytest.mark.parametrize("page_size", [1, 2, 4, 8])
def test_no_two_requests_hold_one_slot(page_size):
    for batch in batches(STORY, Setup(bs=4, draft_tokens=3, page_size=page_size)):
        slots = [batch.table[row, :length] for row, length in zip(batch.rows, batch.lengths, strict=True)]
        assert torch.cat(slots).unique().numel() == sum(batch.lengths) and min(map(torch.min, slots)) >= page_size


def test_what_happened_is_told():
    assert told((), roster((3, 4))) == "A and B came."
    assert told(roster((3, 4, 5)), roster((3, 4, 5))[::2]) == "B finished, so C moved up."
    assert told(roster((3, 4)), roster((5, 4))) == "A grew."
    assert told(roster((3, 4)), roster((2, 6))) == "B grew. A shrank."
    assert told(roster((3,)), roster((3,))) == "The same batch again."


# What a reader may ask for


@pytest.fixture
def session():
    return Session()


CHANGES = {
    "mode": "target_verify",
    "strategy": "foreach",
    "tables": "real_page_table",
    "page_size": "2",
    "draft_step": "2",
    "compare": "strategy:eager",
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_control_changes_what_is_shown_and_keeps_the_history(session, name):
    before, lengths = session.state(), [[r["length"] for r in frame["requests"]] for frame in session.frames]
    session.set(name, CHANGES[name])
    after = session.state()
    assert after != before and [[r["length"] for r in f["requests"]] for f in after["frames"]] == lengths
    assert next(c for c in after["controls"] if c["name"] == name)["value"] == CHANGES[name]


def test_every_option_that_is_offered_can_be_taken(session):
    def controls():
        return {control["name"]: control for control in session.state()["controls"]}

    for name in controls():
        for option in controls()[name]["options"]:
            if not option["why"] and "fused" not in option["value"]:
                session.set(name, option["value"])
                assert controls()[name]["value"] == option["value"]


def test_what_cannot_run_here_is_offered_with_the_reason(session):
    control = next(c for c in session.state()["controls"] if c["name"] == "strategy")
    assert "NVIDIA GPU" in next(o["why"] for o in control["options"] if o["value"] == "graph")


REFUSED = {
    "gone": ({"finish": "B"}, "B", "no request B is in the batch of replay 3"),
    "half a token": ({"edit": "A", "length": 2.5}, "A", "the length of request A must be a whole number"),
    "too long": ({"edit": "A", "length": 25}, "A", "seq_lens[0] is 25"),
    "negative": ({"edit": "A", "length": -1}, "A", "seq_lens[0] is -1"),
    "no number": ({"edit": "A", "length": None, "accepted": 1.5}, "A", "must be a whole number"),
    "not here": ({"set": "strategy", "value": "graph"}, "strategy", "strategy 'graph' cannot run on cpu"),
}


@pytest.mark.parametrize("intent, control, said", REFUSED.values(), ids=REFUSED)
def test_a_refusal_is_shown_at_its_control_and_leaves_the_picture(intent, control, said):
    explorer = Explorer(at=2)
    before = {key: value for key, value in explorer.state.items() if key != "refusal"}
    assert said in explorer.ask(**intent)
    assert explorer.state["refusal"]["control"] == control and said in explorer.state["refusal"]["text"]
    assert {key: value for key, value in explorer.state.items() if key != "refusal"} == before and explorer.at == 2
    explorer.ask(set="strategy", value="eager")
    assert explorer.state["refusal"] is None


def test_a_mode_in_which_the_history_does_not_fit_is_refused(session):
    explorer = Explorer()
    assert not explorer.ask(edit="A", length=23)
    assert "needs 23 + 3 columns" in explorer.ask(set="mode", value="target_verify")
    assert explorer.scene["mode"] == "decode" and explorer.state["refusal"]["control"] == "mode"


def test_more_accepted_than_drafted_is_refused():
    explorer = Explorer(Setup(bs=4, draft_tokens=3, mode=EXTEND))
    assert "accept_length[0] is 4; it must lie in 0..3" in explorer.ask(edit="A", accepted=4)


def test_a_change_of_the_batch_is_one_more_replay_behind_the_one_shown():
    explorer = Explorer(at=2)
    assert explorer.ask(finish="C") == "" and (len(explorer.state["frames"]), explorer.at) == (4, 3)
    assert explorer.scene["note"] == "C finished, so D and E moved up."
    explorer.ask(admit=5)
    assert [explorer.scene["people"][r["person"]] for r in explorer.scene["requests"]] == ["A", "D", "E", "F"]
    explorer.ask(at=1, edit="B", length=21)
    assert len(explorer.state["frames"]) == 3 and explorer.state["edit"]["changed"]
    explorer.ask(reset=True)
    assert len(explorer.state["frames"]) == len(STORY) and not explorer.state["edit"]["changed"] and explorer.at == 0


def test_what_was_observed_is_not_replayed_again(session, monkeypatch):
    session.set("strategy", "eager")
    monkeypatch.setattr(Observation, "replay", lambda *_: pytest.fail("replayed again"))
    session.set("strategy", "copy")
    session.set("compare", "strategy:eager")
    assert session.others[3]["strategy"] == "eager"


def test_comparing_a_view_with_itself_ends_the_comparison(session):
    session.set("compare", "strategy:eager")
    session.set("strategy", "eager")
    assert session.view.compare == "" and session.others == []


def test_beside_the_replay_before_stands_each_one(session):
    session.set("compare", "before")
    assert [frame["replay"] for frame in session.others] == [1, 1, 2, 3, 4, 5, 6]


def test_draft_steps_differ_with_an_offset_only():
    setup = Setup(bs=4, draft_tokens=3, width=28, mode=VERIFY)
    assert Session(setup).frames[2]["differing_fields"] == []
    apart = Session(Setup(bs=4, draft_tokens=3, width=28, mode=VERIFY, step_offset=1))
    assert "cache_seqlens_int32" in apart.frames[2]["differing_fields"]
    apart.set("compare", "step:2")
    lengths = [grid(frames[2], "cache_seqlens_int32", "values") for frames in (apart.frames, apart.others)]
    assert torch.equal(lengths[0] + 2, lengths[1])


def test_batches_of_a_trace_fix_what_they_fix():
    setup = Setup(bs=4, width=4096, page_size=64, topk=2048)
    explorer = Explorer(setup, recorded=[full_size(setup, at) for at in (100, 130)])
    state = explorer.state
    assert {c["name"] for c in state["controls"] if c["why"]} == {"mode", "page_size"} and state["edit"]["why"]
    assert len(json.dumps(state["frames"])) < 100_000
    assert not explorer.ask(set="tables", value="real_page_table")
    for intent in ({"edit": "1", "length": 5}, {"finish": "1"}, {"admit": 5}, {"set": "nothing", "value": "1"}):
        assert explorer.ask(**intent)


def test_a_slow_strategy_says_how_far_it_is():
    explorer, heard = Explorer(Setup(bs=4, draft_tokens=3, device=DEVICE)), []
    explorer.observe(lambda change: heard.append(change["new"]), "busy")
    explorer.ask(set="strategy", value="fused")
    assert [busy["done"] for busy in heard[:-1]] == list(range(1, len(STORY) + 1)) and heard[-1] is None


def test_a_message_from_the_browser_acts_like_a_call():
    explorer = Explorer()
    explorer._handle_custom_msg({"at": 2, "set": "mode", "value": "target_verify"}, [])
    explorer.set_state({"at": 4})
    assert explorer.scene["mode"] == "target_verify" and explorer.scene["replay"] == 5


# Where no JavaScript runs


def test_the_stored_form_is_a_picture_and_words_and_then_the_view(monkeypatch):
    shown = []
    monkeypatch.setattr("nsa_core.lab.explore.widget.display", lambda data, **about: shown.append((data, about)))
    explorer = Explorer(at=2)
    explorer._ipython_display_()
    (stored, about), (live, _) = shown
    assert stored["text/plain"] == explorer.summary == about["metadata"]["image/png"]["alt"]
    assert stored["image/png"].startswith("iVBORw0KGgo") and list(live) == [VIEW]


def test_the_summary_counts_cells_launches_and_bytes():
    said = Explorer(at=2).summary
    assert said.startswith("Replay 3 (decode, copy, exact contract): B finished, so C and D moved up. E came.")
    assert "69 written now, 27 written, not read, 20 stale, 20 never written" in said
    assert "26 launches (8 compute, 18 copy); " in said and "1,152 of them into captured sets" in said


@pytest.mark.parametrize("mode", MODES)
def test_a_picture_is_the_same_each_time_and_of_readable_size(mode):
    shown = Session(Setup(bs=4, draft_tokens=3, **MODES[mode][1])).frames[2]
    one, other = (picture.picture(shown, "caption") for _ in range(2))
    assert one == other and len(one) < 120_000
    with Image.open(io.BytesIO(one)) as drawn:
        assert drawn.width == picture.WIDTH * picture.SCALE and "Software" not in drawn.info


@pytest.mark.parametrize("vision", VISION.values(), ids=VISION)
def test_states_of_one_request_stay_apart_for_colour_blind_readers(vision):
    fills = [picture._mix(hue, share) for hue in picture.HUES[:1] for share in (0.45, 0.13)] + [picture.INK]
    for one, other in itertools.combinations(fills, 2):
        colours = [lab("#" + bytes(colour).hex(), vision) for colour in (one, other)]
        assert np.linalg.norm(colours[0] - colours[1]) > 8, (one, other)  # signs and hatches tell the rest


def test_the_picture_and_the_front_end_use_the_same_hues():
    written = re.search(r"HUES = (\[\[.*?\]\])", front.read("base.js"))[1]
    assert json.loads(written) == [list(hue) for hue in picture.HUES]


def test_the_front_end_is_one_text_that_asks_no_server():
    text = front.module("explorer.js")
    assert 'from "./' not in text and text.count("data:text/javascript;base64,") == 3
    for name in ("base.js", "grid.js", "facts.js", "explorer.js", "explorer.css"):
        assert "http:" not in front.read(name) and "https:" not in front.read(name)


# Without Jupyter


@pytest.mark.parametrize("mode", MODES)
def test_the_shell_shows_every_mode(mode, tmp_path, capsys):
    out = tmp_path / "picture.png"
    assert main(["explore", "--mode", mode, "--out", str(out)]) == 0
    assert out.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    said = capsys.readouterr().out
    assert said.startswith("Replay 3 (draft extend" if "extend" in mode else f"Replay 3 ({mode.replace('_', ' ')}")
    assert "~52" in said if mode == "decode" else "page_table_1" in said


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--lengths", "30,2"], "seq_lens[0] is 30"),
        (["--page-size", "0"], "page_size must be at least 1"),
        (["--strategy", "graph"], "cannot run on cpu"),
        (["--step", "3"], "step is 3, but the captured steps are 0..2"),
        (["--replay", "9"], "replay is 9, but the story has 1..7"),
        (["--lengths", "1,2,3", "--captured-bs", "2"], "lengths has 3 requests, but 2 were captured"),
        (["--out", "no/such/folder/picture.png"], "no/such/folder"),
    ],
)
def test_the_shell_refuses_in_the_packages_words(arguments, said, tmp_path, capsys):
    assert main(["explore", "--out", str(tmp_path / "picture.png"), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "picture.png").exists()


def test_the_help_ends_with_an_example_that_runs(capsys):
    with pytest.raises(SystemExit):
        main(["explore", "--help"])
    example = capsys.readouterr().out.splitlines()[-1].partition("python -m nsa_core ")[2]
    assert main(example.split()) == 0


def test_the_shell_names_the_extra_that_is_missing(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "nsa_core.lab.explore.picture", None)
    assert main(["explore", "--out", str(tmp_path / "picture.png")]) == 2
    assert "the picture needs the extra: pip install" in capsys.readouterr().err


# What the notebooks lean on


def test_results_that_disagree_raise_at_the_first_cell(capsys):
    frame.agree([[1, 2]], torch.tensor([[1, 2]]))
    assert capsys.readouterr().out == "equal in all 2 cells, shape [1, 2]\n"
    with pytest.raises(AssertionError, match=r"at \[1\] it is 3 by hand, but 2 in the package"):
        frame.agree([1, 3], torch.tensor([1, 2]))
    with pytest.raises(AssertionError, match="by hand the shape is"):
        frame.agree([1], torch.tensor([1, 2]))
