"""Does the audit find each fault of the gallery, say where it is, and show it with a small batch?"""

import pytest
import torch
from mutants import GALLERY, STEPS

from nsa_core.audit import KINDS, audit

each_mutant = pytest.mark.parametrize("mutant", GALLERY, ids=lambda mutant: mutant.name)


@each_mutant
def test_mutant_is_found(mutant):
    refresh, sets, config, table = mutant.build()
    report = audit(refresh, sets, config, table, mutant.mode, contract=mutant.contract)
    print(mutant.name, mutant.report, report, sep="\n")
    assert not report.ok
    assert (mutant.kind, mutant.field) in {(finding.kind, finding.field) for finding in report.findings}
