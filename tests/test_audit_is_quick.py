"""Does an audit of the largest captured set fit into a few seconds, clean or not?"""

import time

import pytest
import torch
from batches import EXTEND, VERIFY

import nsa_core as nsa
from nsa_core.audit import audit
from nsa_core.audit.own import token_table

LIMIT = 10  # seconds of processor time on one core
LARGEST = {
    "64 requests x 4 drafts x 8,196 columns, 4 steps": (64, 8196, 4, VERIFY),
    "1,031 requests x 4 drafts, 2 steps": (1031, 130, 2, EXTEND),
}


@pytest.mark.parametrize("faulty", (False, True), ids=("clean", "faulty"))
@pytest.mark.parametrize("bs, width, steps, mode", list(LARGEST.values()), ids=list(LARGEST))
def test_the_largest_set_takes_seconds(bs, width, steps, mode, faulty):
    config = nsa.NSAConfig(flashmla_num_sm_parts=66, paged_mqa_num_sms=132)
    backend = nsa.MultiStepBackend(config, token_table(100, width, 64, torch.device("cpu")), steps)
    sets = backend.capture(bs, mode)

    def refresh(batch):
        backend.replay(batch, mode)
        if faulty:
            sets[-1].page_table_1[1, 0] += 1

    begin = time.process_time()
    report = audit(refresh, sets, config, backend.req_to_token, mode, contract="exact")
    assert report.ok is not faulty
    assert time.process_time() - begin < LIMIT
