"""Does the explorer's grid show, cell for cell, what SGLang's own backend wrote, and what the oracle asks for?"""

import oracle
import pytest
import torch
from batches import EXTEND
from test_golden_replays import FILES, Golden

from nsa_core.audit import oracle as audited
from nsa_core.lab.explore.observe import Observation
from nsa_core.lab.explore.scene import STATES, cells_of, everybody, scene
from nsa_core.lab.explore.setup import Batch, Setup


def given(golden, i):
    """A recorded batch, its pool rows moved to the first rows of a table of the explorer's size."""
    batch = golden.batch(i)
    accepts = tuple(batch.accept_length.tolist()) if golden.mode is EXTEND else ()
    table = torch.cat([golden.table[:1], golden.table[batch.req_pool_indices.long()]])
    return Batch(tuple(batch.seq_lens.tolist()), accepts, tuple(range(1, golden.bs + 1)), table)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_grid_is_the_recording_and_the_oracle_cell_for_cell(path):
    golden = Golden(path)
    config = golden.config
    sizes = {"page_size": config.page_size, "topk": config.index_topk, "draft_tokens": config.num_draft_tokens}
    setup = Setup(golden.mode, golden.bs, golden.table.shape[1], steps=1, **sizes)
    observation, batches = Observation(setup), [given(golden, i) for i in golden.replays]
    for i, batch in zip(golden.replays, batches, strict=True):
        observation.replay(batch)
        fields = {field["name"]: field for field in scene(observation, 0, everybody(batches))["fields"]}
        captured = observation.sets[0].tensors()
        asked = audited.expected(config, observation.table, batch.padded(setup), golden.mode, captured)
        for name, recorded in golden.buffers(i).items():
            grid = {key: cells_of(fields[name], key).view_as(captured[name]) for key in ("values", "ages", "states")}
            written_once = grid["ages"] != 0
            recorded = torch.from_numpy(recorded).long()
            assert torch.equal(recorded != oracle.POISON, written_once), name
            assert torch.equal(grid["values"][written_once], recorded[written_once]), name
            if name in asked:
                is_the_oracles(grid, asked[name])


def is_the_oracles(grid, cells):
    values, states = cells.corner(grid["values"]), grid["states"]
    assert torch.equal(values[cells.written], cells.values[cells.written].long())
    for state, asked in (("read", cells.live), ("unread", cells.written & ~cells.live)):
        whole = torch.zeros_like(states, dtype=torch.bool)
        cells.corner(whole)[:] = asked
        assert torch.equal(states == STATES.index(state), whole)
