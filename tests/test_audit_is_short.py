"""Does an audit stay below a few hundred refreshes, however large the captured set is and however much is wrong?"""

import pytest
import torch
from batches import EXTEND, VERIFY

import nsa_core as nsa
from nsa_core.audit import audit
from nsa_core.audit.own import token_table

MOST = 300  # refreshes of one audit, those that make a finding smaller included
LARGEST = {
    "64 requests x 4 drafts x 8,196 columns, 4 steps": (64, 8196, 4, VERIFY),
    "1,031 requests x 4 drafts, 2 steps": (1031, 130, 2, EXTEND),
}


@pytest.mark.parametrize("faulty", (False, True), ids=("clean", "faulty"))
@pytest.mark.parametrize("bs, width, steps, mode", list(LARGEST.values()), ids=list(LARGEST))
def test_the_largest_set_takes_no_more_refreshes_than_a_small_one(bs, width, steps, mode, faulty):
    config = nsa.NSAConfig(flashmla_num_sm_parts=66, paged_mqa_num_sms=132)
    backend = nsa.MultiStepBackend(config, token_table(100, width, 64, torch.device("cpu")), steps)
    sets = backend.capture(bs, mode)

    refreshes = 0

    def refresh(batch):
        nonlocal refreshes
        refreshes += 1
        backend.replay(batch, mode)
        if faulty:
            sets[-1].page_table_1[1, 0] += 1

    report = audit(refresh, sets, config, backend.req_to_token, mode, contract="exact")
    assert report.ok is not faulty
    assert refreshes < MOST
