"""Does the explorer show what a replay really did, say it in words, and survive every setting?"""

import itertools
import sys

import ipywidgets as W
import numpy as np
import pytest
import torch
from batches import DECODE, EXTEND, IDLE, VERIFY
from device import DEVICE
from matplotlib.colors import to_rgb
from PIL import Image

import nsa_core as nsa
from nsa_core.__main__ import main
from nsa_core.audit import oracle
from nsa_core.lab.explore import chart, draw, exercises, frame, trace_batches, words
from nsa_core.lab.explore.observe import CONSTANT, FIELDS, CellState, Observation
from nsa_core.lab.explore.setup import Batch, Setup, interleaved_table
from nsa_core.lab.explore.trace_batches import full_size, scale_model
from nsa_core.lab.explore.widgets import Explorer
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
    assert "read, but not written (fault)" in words.summary(observation, 0)


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


# What is said


def test_a_cell_is_told_by_request_token_and_rule():
    observation = observed(Setup(bs=4), LONG, SHORT)
    said = words.describe_cell(observation, 0, "page_table_1", 1, 11)
    assert said.startswith("page_table_1[1, 11] = ")
    assert "request 1 (pool row 2), column 11 of a row of 12 tokens" in said
    assert "Written and read. Rule: req_to_token[pool row, column]." in said
    stale = words.describe_cell(observation, 0, "page_table_1", 2, 13)
    assert "request 2 (pool row 3), column 13 of a row of 14 tokens" in stale and "(replay 1)" in stale
    assert "request 3 (padding)" in words.describe_cell(observation, 0, "real_page_table", 3, 0)
    assert "Never written" in words.describe_cell(observation, 0, "page_table_1", 0, 23)
    assert "Constant since capture" in words.describe_cell(observation, 0, "cu_seqlens_k", 0)


@pytest.mark.parametrize("mode", [DECODE, VERIFY, EXTEND], ids=lambda mode: mode.value)
def test_every_field_has_a_rule_in_every_mode(mode):
    observation = observed(Setup(mode=mode, bs=4), LONG)
    for field in FIELDS:
        last = [size - 1 for size in observation.sets[0].tensors()[field].shape]
        assert "Rule: " + words.rule(field, mode) in words.describe_cell(observation, 0, field, *last)


@pytest.mark.parametrize("row, column, wrong", [(4, 0, "row is 4"), (0, 24, "column is 24"), (-1, 0, "row is -1")])
def test_a_cell_outside_its_field_is_refused(row, column, wrong):
    with pytest.raises(ValueError, match=wrong):
        words.describe_cell(observed(Setup(bs=4), SHORT), 0, "page_table_1", row, column)


def test_the_summary_counts_cells_bytes_and_operations():
    said = words.summary(observed(Setup(bs=4), LONG, SHORT), 0)
    assert "DECODE, 3 of 4 captured requests, strategy copy, contract exact" in said
    assert "wrote 228 cells = 912 bytes in 3 steps, rows [:4] and columns [:12]" in said
    assert "operations: 18 copy_" in said and "All 3 steps are equal." in said


# What is drawn

VISION = {  # severe colour blindness in linear RGB (Machado, Oliveira, Fernandes 2009)
    "typical": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
APART = 20  # CIE76; about 2 is the least that can be observation side by side


def lab(colour, vision):
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(np.array(vision) @ linear, 0, 1) / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISION.values(), ids=VISION)
def test_cell_states_stay_apart_for_colour_blind_readers(vision):
    for pair in [*itertools.combinations(draw.STATE_COLOURS.values(), 2), (chart.SAME, chart.DIFFERENT)]:
        one, other = (lab(colour, vision) for colour in pair)
        assert np.linalg.norm(one - other) > APART, pair


def test_equal_states_give_equal_pictures_of_readable_size(tmp_path):
    observation = observed(Setup(mode=VERIFY, bs=4), LONG, SHORT)
    one, other = (draw.Picture(observation, 1, "page_table_1", 2, 5).png for _ in range(2))
    assert one == other and len(one) < 80_000
    (tmp_path / "picture.png").write_bytes(one)
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.width == round(chart.WIDTH * chart.DPI) and "Software" not in picture.info


def test_every_colour_of_the_legend_is_in_the_picture(tmp_path):
    (tmp_path / "picture.png").write_bytes(draw.Picture(observed(Setup(bs=4), SHORT)).png)
    with Image.open(tmp_path / "picture.png") as picture:
        shown = {colour for _, colour in picture.convert("RGB").getcolors(picture.width * picture.height)}
    for colour in (*draw.STATE_COLOURS.values(), chart.SAME, chart.DIFFERENT):
        assert tuple(round(255 * part) for part in to_rgb(colour)) in shown, colour


def texts(observation, row=0):
    axes = draw.figure(observation, 0, "page_table_1", row, 0).axes
    return [[text.get_text() for text in ax.texts] for ax in axes]


def test_the_picture_shows_the_numbers_of_the_cells():
    observation = observed(Setup(bs=4), SHORT)
    shown = itertools.chain(*texts(observation))
    values = [str(int(value)) for name in FIELDS for value in observation.values(0)[name].flatten()]
    assert sorted(shown) == sorted(values + ["="] * 3 * len(FIELDS))


def test_a_large_table_shows_the_numbers_of_the_selected_row():
    observation = observed(Setup(mode=VERIFY, bs=4), LONG)
    assert texts(observation, row=3)[1] == [str(int(value)) for value in observation.values(0)["page_table_1"][3]]


# The widgets


@pytest.fixture
def explorer(monkeypatch):
    """An explorer whose picture is a cheap fingerprint; drawing is tested above."""
    monkeypatch.setattr(draw, "figure", lambda seen, *at: (seen.states(at[0]), seen.values(at[0]), at))
    monkeypatch.setattr(chart, "png", lambda drawn, _palette: repr(drawn).encode())
    return Explorer(Setup(), (7, 12, 3, 9, 17, 5, 14, 10), before=(18, 5, 14, 10, 9, 20, 3, 7))


def shown(explorer):
    return explorer.summary, explorer.text.value, explorer.image.value


CHANGES = {
    "requests": 3,
    "lengths": "1, 2, 3, 4, 5, 6, 7, 8",
    "mode": "target_verify",
    "strategy": "foreach",
    "page_size": 2,
    "topk": 5,
    "steps": 2,
    "step_offset": 1,
    "step": 2,
    "field": "nsa_cu_seqlens_k",
    "row": 4,
    "column": 9,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_control_changes_the_words_or_the_picture(explorer, name):
    before = shown(explorer)
    explorer.controls[name].value = CHANGES[name]
    assert shown(explorer) != before and not explorer.error.value
    assert explorer.text.value.count("<p>") == 2


def test_draft_tokens_change_the_captured_rows(explorer):
    explorer.controls["mode"].value = "target_verify"
    explorer.controls["draft_tokens"].value = 2
    assert explorer.observation.setup.rows == 16 and explorer.controls["row"].max == 15


def test_accept_lengths_change_the_rows_in_use(explorer):
    explorer.controls["mode"].value = "draft_extend"
    explorer.controls["accepts"].value = "3, 0, 1, 2, 4, 1, 1, 0"
    assert "rows [:12]" in explorer.summary


def test_a_message_from_the_browser_acts_like_a_value_set_here(explorer):
    explorer.controls["requests"].set_state({"value": 5})
    explorer.controls["mode"].set_state({"index": 2})
    assert "5 of 8 captured requests" in explorer.summary and "TARGET_VERIFY" in explorer.summary


INVALID = {
    "too long": ("lengths", "7, 25, 3, 9, 17, 5, 14, 10", "seq_lens[1] is 25"),
    "negative": ("lengths", "7, -1, 3, 9, 17, 5, 14, 10", "seq_lens[1] is -1"),
    "no number": ("lengths", "7, x, 3", "lengths has 'x'"),
    "too few": ("lengths", "7, 3", "lengths has 2 numbers"),
    "not here": ("strategy", "graph", "strategy 'graph' cannot run on cpu"),
    "no room": ("mode", "target_verify", "needs 21 + 4 columns"),
}


@pytest.mark.parametrize("name, value, said", INVALID.values(), ids=INVALID)
def test_an_invalid_setting_shows_the_packages_words_and_writes_nothing(explorer, name, value, said):
    if name == "mode":
        explorer.controls["lengths"].value = "7, 12, 3, 9, 21, 5, 14, 10"
    before, drawn = snapshot(explorer.observation), explorer.image.value
    explorer.controls[name].value = value
    assert said in explorer.refusal and "Refused, and nothing was written." in explorer.summary
    assert 'role="alert"' in explorer.error.value
    assert same(before, snapshot(explorer.observation)) and explorer.image.value == drawn


def test_an_accept_length_above_d_is_refused_in_the_packages_words(explorer):
    explorer.controls["mode"].value = "draft_extend"
    explorer.controls["accepts"].value = "5, 1, 1, 1, 1, 1, 1, 1"
    assert "accept_length[0] is 5; it must lie in 0..4" in explorer.refusal


def test_a_refused_setting_stays_refused_until_it_is_put_right(explorer):
    explorer.controls["strategy"].value = "graph"
    explorer.controls["requests"].value = 4
    assert "graph" in explorer.refusal and "8 of 8 captured requests" in explorer.summary
    explorer.controls["strategy"].value = "copy"
    assert not explorer.refusal and not explorer.error.value and "4 of 8 captured requests" in explorer.summary


def test_another_strategy_repeats_the_replays_and_another_size_starts_afresh(explorer):
    before, last = (batch.lengths for batch in explorer.observation.batches)
    explorer = Explorer(Setup(device=DEVICE), last, before=before)
    explorer.controls["requests"].value = 3
    replayed = [inputs.lengths for inputs in explorer.observation.batches]
    explorer.controls["strategy"].value = "fused"
    assert [inputs.lengths for inputs in explorer.observation.batches] == replayed
    assert "contract live prefix" in explorer.summary
    explorer.controls["page_size"].value = 8
    assert [inputs.lengths for inputs in explorer.observation.batches] == replayed[-1:]


def test_shrinking_halves_the_batch_and_leaves_a_tail(explorer):
    explorer.buttons["shrink"].click()
    assert explorer.controls["requests"].value == 4 and "4 of 8 captured requests" in explorer.summary
    assert CellState.STALE in counts(explorer.observation.states(0)["page_table_1"])
    for _ in range(4):
        explorer.buttons["shrink"].click()
    assert explorer.controls["requests"].value == 1


@pytest.mark.parametrize("mode", ["decode", "target_verify", "draft_extend"])
def test_a_trace_step_is_replayed_once_and_shown_in_the_controls(explorer, mode):
    explorer.controls["mode"].value = mode
    for asked in itertools.islice(scale_model(explorer.setup), 8):
        replays = len(explorer.observation.batches)
        explorer.buttons["next"].click()
        assert len(explorer.observation.batches) == replays + 1
        assert explorer.observation.batches[-1].lengths == asked.lengths
        assert explorer.controls["requests"].value == len(asked.lengths)
        assert explorer.controls["lengths"].value.startswith(", ".join(map(str, asked.lengths)))


def test_a_trace_that_ended_starts_over(explorer):
    explorer.next_trace_step()
    first, explorer._trace = explorer.observation.batches[-1].lengths, iter(())
    explorer.next_trace_step()
    assert explorer.observation.batches[-1].lengths == first
    explorer.next_trace_step()
    assert not explorer.refusal


def test_ranges_follow_the_field_and_the_steps(explorer):
    explorer.controls["column"].value = 23
    explorer.controls["field"].value = "real_page_table"
    assert (explorer.controls["column"].max, explorer.controls["column"].value) == (5, 5)
    explorer.controls["field"].value = "cu_seqlens_k"
    assert (explorer.controls["row"].max, explorer.controls["column"].max) == (8, 0)
    explorer.controls["steps"].value = 5
    assert explorer.controls["step"].max == 4


def test_controls_are_labelled_and_do_not_flood_the_kernel(explorer):
    for name, control in explorer.controls.items():
        assert control.description, name
        assert getattr(control, "continuous_update", False) is False, name
    labels = [control.description for control in explorer.controls.values()]
    assert len(set(labels)) == len(labels) and all(button.tooltip for button in explorer.buttons.values())
    assert 'role="status"' in explorer.text.value


def test_no_output_widget_hides_an_error(explorer):
    def below(widget):
        return [widget, *itertools.chain.from_iterable(map(below, getattr(widget, "children", ())))]

    assert not any(isinstance(widget, W.Output) for widget in below(explorer))
    assert explorer.image in below(explorer)


def test_without_widgets_a_notebook_shows_picture_and_words():
    explorer = Explorer(Setup(bs=4), (7, 12, 3, 9))
    bundle, about = explorer._repr_mimebundle_()
    assert bundle["text/plain"] == explorer.summary == about["image/png"]["alt"] and "Replay 1" in explorer.summary
    assert bundle["image/png"].startswith("iVBORw0KGgo")  # a PNG's first bytes in base64
    assert "application/vnd.jupyter.widget-view+json" in bundle


# Without Jupyter


@pytest.mark.parametrize("mode", [mode.value for mode in nsa.ForwardMode])
def test_the_shell_draws_every_mode(mode, tmp_path, capsys):
    out = tmp_path / "picture.png"
    assert main(["explore", "--mode", mode, "--out", str(out)]) == 0
    assert out.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert f"Replay 2 ({mode.upper()}, 4 of 4 captured requests" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--lengths", "30,2"], "seq_lens[0] is 30"),
        (["--page-size", "0"], "page_size must be at least 1"),
        (["--strategy", "graph"], "cannot run on cpu"),
        (["--step", "3"], "step is 3, but the captured steps are 0..2"),
        (["--row", "9"], "row is 9, but page_table_1 has rows 0..3"),
        (["--captured-bs", "2"], "lengths has 4 requests, but 2 were captured"),
        (["--out", "no/such/folder/picture.png"], "no/such/folder"),
    ],
)
def test_the_shell_refuses_in_the_packages_words(arguments, said, tmp_path, capsys):
    assert main(["explore", "--out", str(tmp_path / "picture.png"), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "picture.png").exists()


def test_the_help_ends_with_an_example_that_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["explore", "--help"])
    example = capsys.readouterr().out.splitlines()[-1].partition("python -m nsa_core ")[2]
    assert main(example.split()) == 0 and (tmp_path / "picture.png").exists()


def test_the_shell_names_the_extra_that_is_missing(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "nsa_core.lab.explore.draw", None)
    assert main(["explore", "--out", str(tmp_path / "picture.png")]) == 2
    assert "the picture needs the extra: pip install" in capsys.readouterr().err


# What the notebooks lean on

WRONG = {
    "decode unread": 77,
    "decode tight": [9] * 7 + [10],
    "decode stale": ([15] * 8, [11] * 8),
    "verify longest": 23,
    "verify rows": [5, 6],
    "verify uncut": [3, 4, 5, 7],
    "extend requests": [0, 0, 1],
    "extend rows": [5, 6, 7, 12, 11],
    "extend full": [4, 4, 4, 3],
}


@pytest.mark.parametrize("exercise", exercises.CHECKS)
def test_an_exercise_raises_for_a_wrong_answer_and_for_none(exercise):
    for answer, hint in ((..., "no answer yet"), (WRONG[exercise], exercise)):
        with pytest.raises(AssertionError, match=hint):
            exercises.grade(exercise, answer)


def test_an_unknown_exercise_is_named():
    with pytest.raises(ValueError, match="'nothing' is not known"):
        exercises.grade("nothing", 1)


def test_results_that_disagree_raise_at_the_first_cell(capsys):
    frame.agree([[1, 2]], torch.tensor([[1, 2]]))
    assert capsys.readouterr().out == "equal in all 2 cells, shape [1, 2]\n"
    with pytest.raises(AssertionError, match=r"at \[1\] it is 3 by hand, but 2 in the package"):
        frame.agree([1, 3], torch.tensor([1, 2]))
    with pytest.raises(AssertionError, match="by hand the shape is"):
        frame.agree([1], torch.tensor([1, 2]))
