"""Do the copies' figures draw what was recorded and launched, with its conditions, and store no live time?"""

import re
from types import SimpleNamespace

import pytest
import torch

import nsa_core as nsa
from nsa_core.kernels import copies
from nsa_core.lab.bench import Bench, BenchCase, Spread, WrongResult, parts
from nsa_core.lab.bench.evidence import RECORD_CASES, committed
from nsa_core.lab.decision.claims import CLAIMS
from nsa_core.lab.explore import chart as charts
from nsa_core.lab.explore import figures_copies as figures
from nsa_core.strategies.base import Captured
from nsa_core.strategies.batched import Batched

CHARTS = (
    figures.gain_chart,
    figures.timeline_chart,
    figures.operations_chart,
    figures.transform_chart,
    figures.record_chart,
    figures.seven_chart,
    figures.forms_chart,
)
SMALL = BenchCase("small", bs=2, lengths=64, width=128, steps=2)
claims = {claim.id: claim.text for claim in CLAIMS}


@pytest.fixture(scope="module")
def evidence():
    return committed()


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.__name__)
def test_a_chart_names_its_conditions_in_words_and_under_the_picture(chart, evidence, monkeypatch):
    captions = []
    monkeypatch.setattr(charts, "Chart", lambda fig, lines: captions.append(fig.get_supxlabel()) or lines)
    assert chart(evidence)[-1] == evidence.conditions
    assert [caption.replace("\n", " ") for caption in captions] == [evidence.conditions]


def test_equal_evidence_gives_equal_bytes_and_words(evidence):
    one, other = figures.record_chart(evidence), figures.record_chart(evidence)
    assert one.png == other.png and one.lines == other.lines and b"Matplotlib" not in one.png
    bundle, about = one._repr_mimebundle_()
    assert bundle["text/plain"] == about["image/png"]["alt"] == "\n".join(one.lines)
    assert bundle["image/png"].startswith("iVBORw0KGgo")  # a PNG's first bytes in base64


def test_another_number_changes_the_words(evidence):
    changed = type(evidence)([row | ({"loop_us": 1.0} if row["name"] == "clamp" else {}) for row in evidence.rows])
    assert figures.operations_chart(changed).lines != figures.operations_chart(evidence).lines


def test_the_notes_numbers_are_those_of_the_ledger():
    for number, claim in ((4, "P1"), (8, "P2")):
        before, after = figures.RECORD[number].values()
        assert f"{number} steps from {before:.0f} to {after:.0f} us" in claims[claim]
    assert all(f"{name} {us}" in claims["P3"] for name, us in figures.RECORD_OPERATIONS.items())
    assert all(f"{us:.2f}" in claims["B1"] for us in figures.RECORD_SEVEN.values())


def test_the_parts_of_a_replay_add_up(evidence):
    totals = {(row["steps"], row["source"]): row["after"] for row in figures.record_table(evidence)}
    rows = figures.record_parts(evidence)
    assert len(rows) == len(totals) == 6
    for row in rows:
        assert row["compute"] + row["copies"] + row["rest"] == pytest.approx(totals[row["steps"], row["source"]])


@pytest.mark.parametrize("name", ["eager", "copy"])
def test_a_timeline_is_as_long_and_as_busy_as_recorded(name, evidence):
    for steps, case in RECORD_CASES.items():
        segments, row = figures._segments(evidence, name, steps), evidence.row(case, name, kind="strategy")
        assert sum(us for _, us, _ in segments) == pytest.approx(row["host_us"], rel=0.05)
        assert sum(operations for *_, operations in segments) == row["device_ops"]


def test_what_was_saved_is_the_best_case_less_the_describing(evidence):
    for row in figures.room(evidence, 4):
        copied, own = (evidence.part("record-4", parts.COPY_ALL, name).median for name in ("copy", row["form"]))
        assert row["saved"] == pytest.approx(copied - own)
        assert row["saves at best"] - row["describing and passing"] == pytest.approx(row["saved"])


@pytest.mark.parametrize(
    "sizes, expected",
    [
        ([1], [(0, 1, 0)]),
        ([1024], [(1, 0, 0)]),
        ([1025, 0], [(1, 1, 0), (0, 0, 2)]),
        ([7, 2048, 3000], [(0, 1, 2), (2, 0, 1), (2, 1, 0)]),
    ],
)
def test_programs_of_a_grid(sizes, expected):
    assert figures.programs(sizes, 1024) == expected


def test_the_grid_drawn_is_the_grid_launched():
    launched = []

    class Kernel:
        def __getitem__(self, grid):
            launched.append(grid)
            return lambda *_, **__: None

    table = torch.zeros(1, 64, dtype=torch.int32)
    sets = nsa.MultiStepBackend(nsa.NSAConfig(), table, 1).capture(1, nsa.ForwardMode.DECODE)
    form = Batched(Captured(nsa.NSAConfig(), table, nsa.ForwardMode.DECODE, 1, sets))
    form._kernels = SimpleNamespace(BLOCK=copies.BLOCK, MOST_COPIES=copies.MOST_COPIES, copy_up_to_8=Kernel())
    sources = [torch.zeros(size, dtype=torch.int32) for size in parts.MICRO_SIZES]
    form.execute([[(torch.empty_like(src), src) for src in sources]])
    drawn = figures.programs(parts.MICRO_SIZES, copies.BLOCK)
    assert launched == [(sum(drawn[0]), len(drawn))]


def test_a_grid_is_said_in_programs():
    lines = figures.grid_chart({"one": {"a": 5}, "two": {"a": 5, "b": 2000}}, 1024).lines
    assert lines == [
        "one: 1 blocks x 1 copies = 1 programs, 0 of them (0%) return at once",
        "two: 2 blocks x 2 copies = 4 programs, 1 of them (25%) return at once",
    ]


def test_only_lines_that_a_kernel_has_can_be_explained():
    assert "- `if first < n`: because" in figures.explain(copies._move, {"if first < n": "because"})
    with pytest.raises(ValueError, match="'if first <= n' is not in the source"):
        figures.explain(copies._move, {"if first <= n": "because"})


def test_operations_are_counted_without_views():
    x = torch.arange(12).view(3, 4)
    counted = figures.operations_of(lambda: x[:, ::2].t().add(1).copy_(torch.zeros(2, 3)))
    assert counted == {"add": 1, "zeros": 1, "copy_": 1}


def test_a_live_time_is_shown_and_not_stored():
    live = figures.Live({"a replay": Spread(12.5, 11.0, 13.0, 9)})
    assert "12.5" in live.value and "11..13" in live.value and "a replay" in live.summary
    assert not re.search(r"\d", live.summary)
    stored = {kind: text for kind, text in live._repr_mimebundle_().items() if "widget-view" not in kind}
    assert stored == {"text/plain": live.summary}


def test_live_replays_are_whole_ones_and_their_parts():
    times = figures.replays_here(SMALL, ("eager", "copy"), budget_s=0.02)
    assert list(times) == ["eager", "copy", parts.PRECOMPUTE, parts.COPY_ALL]
    assert all(time.median > 0 for time in times.values())


def test_a_wrong_replay_is_not_timed(monkeypatch):
    monkeypatch.setattr(Bench, "case", lambda run, case: run.failures.append(f"{case.name} copy: wrong"))
    with pytest.raises(RuntimeError, match="small copy: wrong"):
        figures.replays_here(SMALL, ("copy",))


def test_live_describing_is_checked_first(monkeypatch):
    assert list(figures.describing_here(SMALL, budget_s=0.01)) == [
        "plan the 6 copies of a step",
        "describe them for a kernel",
    ]
    monkeypatch.setattr(figures, "describe", lambda _dst, _src: SimpleNamespace(size=0))
    with pytest.raises(WrongResult, match="0 elements are described"):
        figures.describing_here(SMALL, budget_s=0.01)
