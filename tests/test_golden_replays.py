"""Do replays give, cell for cell, what SGLang's own backend gave in December 2025, stale tails included?"""

from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from batches import DECODE, EXTEND, HOST_ONLY, VERIFY, runnable_strategies
from device import DEVICE

import nsa_core as nsa

FILES = sorted((Path(__file__).parent / "data" / "replay").glob("*.npz"))
MODE_OF = {"decode": DECODE, "target_verify": VERIFY, "draft_extend": EXTEND}


class Golden:
    """One recorded file: a captured set's shapes and three replays into it."""

    def __init__(self, path):
        self.data = np.load(path)
        self.mode = MODE_OF[str(self.data["mode"])]
        self.bs = int(self.data["bs"])
        names = ("page_size", "index_topk", "num_draft_tokens", "max_context_len")
        self.config = nsa.NSAConfig(**{name: int(self.data[name]) for name in names})
        self.table = torch.from_numpy(self.data["req_to_token"]).to(DEVICE)
        self.replays = range(int(self.data["replays"]))

    def batch(self, i):
        lengths, pool_rows, accepts = (
            torch.from_numpy(self.data[f"r{i}_{name}"].copy()).to(DEVICE)
            for name in ("seq_lens", "req_pool_indices", "accept_length")
        )
        return nsa.ReplayBatch(lengths, pool_rows, accept_length=accepts if self.mode is EXTEND else None)

    def buffers(self, i):
        return {field: self.data[f"r{i}_{field}"] for field in oracle.FIELDS}

    def poisoned(self):
        """What the recording's buffers held before the first replay."""
        shapes = oracle.captured_shapes(self.config, self.bs, self.mode, self.table.shape[1])
        cells = {field: np.full(shape, oracle.POISON, dtype=np.int32) for field, shape in shapes.items()}
        for field in oracle.CONSTANT:
            cells[field] = np.arange(shapes[field][0], dtype=np.int32)
        for field in oracle.CUMULATIVE:
            cells[field][0] = 0
        return cells

    def captured(self, strategy, num_steps):
        backend = nsa.MultiStepBackend(self.config, self.table, num_steps, strategy=strategy)
        backend.capture(self.bs, self.mode)
        oracle.poison(backend.sets(self.bs, self.mode))
        return backend


each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def test_thirty_recorded_files_are_here_ten_per_mode():
    modes = [path.stem[:-3] for path in FILES]
    assert {mode: modes.count(mode) for mode in MODE_OF} == dict.fromkeys(MODE_OF, 10)
    assert {Golden(path).config.page_size for path in FILES} >= {1, 16, 64}


@each_file
def test_the_tests_own_oracle_reproduces_the_recording(path):
    golden = Golden(path)
    cells = golden.poisoned()
    for i in golden.replays:
        cells = oracle.expected(golden.config, golden.table, golden.batch(i), golden.mode, cells)
        oracle.assert_same_cells(cells, golden.buffers(i), f"after replay {i}")


@each_file
def test_live_cells_are_cells_the_recording_wrote(path):
    golden = Golden(path)
    live = oracle.live_mask(golden.config, golden.batch(0), golden.mode, golden.buffers(0))
    for field, cells in golden.buffers(0).items():
        assert not (cells[live[field]] == oracle.POISON).any(), field


@pytest.mark.parametrize("num_steps", (1, 3, 8), ids=lambda n: f"{n}_steps")
@pytest.mark.parametrize("strategy", ("eager", "copy", "foreach"))
@each_file
def test_every_cell_of_every_step_is_the_recorded_one(path, strategy, num_steps):
    golden = Golden(path)
    backend = golden.captured(strategy, num_steps)
    for i in golden.replays:
        backend.replay(golden.batch(i), golden.mode)
        for step in range(num_steps):
            cells = oracle.snapshot(backend[step])
            oracle.assert_same_cells(cells, golden.buffers(i), f"after replay {i}, step {step}")


@pytest.mark.parametrize("strategy", [name for name in runnable_strategies() if name not in HOST_ONLY[:3]])
@each_file
def test_every_other_strategy_keeps_its_own_contract_on_the_recording(path, strategy):
    golden = Golden(path)
    backend = golden.captured(strategy, num_steps=2)
    for i in golden.replays:
        batch, wanted = golden.batch(i), golden.buffers(i)
        backend.replay(batch, golden.mode)
        for step in range(2):
            cells = oracle.snapshot(backend[step])
            if nsa.strategies()[strategy].contract == "exact":
                oracle.assert_same_cells(cells, wanted, f"after replay {i}, step {step}")
            else:
                live = oracle.live_mask(golden.config, batch, golden.mode, wanted)
                oracle.assert_live_cells(cells, wanted, live, f"after replay {i}, step {step}")
