"""Are the counts, the model and the pictures past the copies what the recording says?"""

import pytest
import torch

import nsa_core as nsa
from nsa_core.lab.bench import BenchCase
from nsa_core.lab.bench.bytes_moved import BytesMoved
from nsa_core.lab.bench.evidence import committed
from nsa_core.lab.explore import figures_past as past
from nsa_core.metadata import memory

CHARTS = (past.steps_chart, past.strategies_chart, past.floors_chart, past.engine_chart)


@pytest.fixture(scope="module")
def run():
    return committed()


@pytest.fixture(scope="module")
def times(run):
    return past.fitted(run)


def test_bytes_counted_here_are_those_recorded(run):
    assert past.bytes_agree(run) == []


@pytest.mark.parametrize("bs, width, page", [(1, 64, 64), (3, 100, 64), (4, 128, 1)])
@pytest.mark.parametrize("mode", [nsa.ForwardMode.DECODE, nsa.ForwardMode.TARGET_VERIFY])
def test_a_set_is_counted_as_if_it_were_allocated(bs, width, page, mode):
    config, table = nsa.NSAConfig(page_size=page), torch.zeros(bs + 1, width, dtype=torch.int32)
    allocated = nsa.MultiStepBackend(config, table, 1).capture(bs, mode)
    assert past.set_bytes(config, bs, width, mode) == memory(allocated).held


def test_copies_make_2_and_2_n_passes_and_one_launch_1_and_n():
    passes = {(line["steps"], line["way"]): line["passes"] for line in past.counted(steps=(1, 8))}
    expected = {(1, "copy to N"): 4, (1, "generate into N"): 2, (1, "shared"): 2}
    expected |= {(8, "copy to N"): 18, (8, "generate into N"): 9, (8, "shared"): 2}
    assert passes == pytest.approx(expected, rel=0.02)


def test_the_model_is_bound_by_the_launch_or_by_bytes(times):
    assert times.graph(0) == times.launch
    more = times.graph(10**9) - times.graph(10**9 // 2)
    assert more == pytest.approx(10**9 / 2 / times.per_us)
    assert times.copy(4, 0) == times.copies.copied(4)


def test_with_one_step_sharing_changes_nothing(times):
    found = times.by_way(1, past.moved_by(BenchCase("one", bs=4, lengths=4096, steps=1)))
    assert found["graph"] == found["shared+graph"]


def test_bytes_scale_with_tokens():
    assert past.scaled(BytesMoved(10, 6, 20, 40), 2.5) == BytesMoved(25, 15, 50, 100)
    one, many = (past.moved_by(BenchCase("c", bs=bs, lengths=1024)) for bs in (1, 64))
    assert past.scaled(one, 64).generate == pytest.approx(many.generate, rel=0.01)


def test_every_published_gain_names_a_page():
    assert all(p.url.startswith("https://github.com/") and p.url.rpartition("/")[2].isdigit() for p in past.PUBLISHED)


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.__name__)
def test_a_chart_carries_its_conditions_and_is_small(chart, run):
    one, two = chart(run), chart(run)
    assert one.lines[-1] == run.conditions and one.png == two.png and len(one.png) < 60_000


def test_the_map_carries_its_conditions(run, times):
    assert past.crossover_chart(run, times).lines[-1] == run.conditions
