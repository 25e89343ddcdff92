"""What does `python -m nsa_core audit` print and return, for good and for bad input?"""

import pytest
import torch
from device import DEVICE

import nsa_core as nsa
from nsa_core.__main__ import main
from nsa_core.audit import command

ONE = ["--page-size", "64", "--steps", "1"]


def run(capsys, *arguments):
    """(exit status, lines of stdout, lines of stderr)."""
    status = main(["audit", *arguments])
    out, err = capsys.readouterr()
    return status, out.splitlines(), err.splitlines()


def test_a_clean_audit_is_a_line_per_strategy_mode_page_size_and_step_count(capsys):
    chosen = ["--strategy", "copy", "--strategy", "shared", "--page-size", "64", "--steps", "2"]
    status, lines, err = run(capsys, *chosen)
    assert status == 0 and not err
    assert len(lines) == 1 + 2 * 3 and all(line.endswith("clean") for line in lines[1:])


def test_findings_are_printed_and_exit_with_1(capsys, monkeypatch):
    copy = nsa.strategies.__globals__["REGISTRY"]["copy"]
    monkeypatch.setattr(copy, "execute", lambda self, plans: {})
    status, lines, _ = run(capsys, "--device", "cpu", "--strategy", "copy", *ONE)
    out = "\n".join(lines)
    assert status == 1
    assert "findings" in out and "copy, DECODE, 64, 1" in out and "kept what it held" in out


def test_a_strategy_that_was_asked_for_and_cannot_run_exits_with_2(capsys):
    status, lines, _ = run(capsys, "--device", "cpu", "--strategy", "graph")
    assert status == 2
    assert len(lines) == 1 and lines[0].startswith("cannot run: graph: a CUDA graph needs an NVIDIA GPU")


def test_strategies_that_cannot_run_for_one_reason_share_its_line(capsys):
    chosen = ["--strategy", "graph", "--strategy", "copy", "--strategy", "shared+graph"]
    status, lines, _ = run(capsys, "--device", "cpu", *chosen, *ONE)
    assert status == 2 and len(lines) == 1 + 3 + 1
    assert lines[-1].startswith("cannot run: graph, shared+graph: a CUDA graph needs")


BAD_INPUT = {
    "page size 0": (["--page-size", "64", "--page-size", "0"], "page_size must be at least 1, got 0"),
    "no steps": (["--steps", "0"], "steps must be at least 1, got 0"),
    "steps below zero": (["--steps", "-5"], "steps must be at least 1, got -5"),
    "an unknown strategy": (
        ["--strategy", "copy", "--strategy", "best"],
        "strategy 'best' is not known; choose one of eager, copy, ",
    ),
    "an unknown device": (["--device", "nonsense"], "device 'nonsense' cannot be used here: "),
    "a device number there is not": (["--device", "cuda:99"], "device 'cuda:99' cannot be used here: "),
    "an unknown release": (["--release", "sglang==0.5"], "release 'sglang==0.5' is not known; choose one of "),
    "a release and a strategy": (
        ["--release", "sglang==0.5.7", "--strategy", "copy"],
        "--strategy is for this package's own, but --release is sglang==0.5.7; leave out one",
    ),
    "a flag of another release": (
        ["--release", "sglang==0.5.6.post2", "--flag", "A=1"],
        "--flag A=1: sglang==0.5.6.post2 chooses its refresh by none",
    ),
    "a mode without a release": (
        ["--mode", "decode"],
        "--mode and --flag are for a release; name one with --release",
    ),
    "two page sizes for a release": (
        ["--release", "sglang==0.5.7", "--page-size", "1", "--page-size", "64"],
        "--page-size is given 2 times; a release is audited at one",
    ),
    "a device without memory": (["--device", "meta"], "device 'meta' cannot be used here: "),
}
if not torch.cuda.is_available():
    BAD_INPUT["no GPU"] = (["--device", "cuda"], "device 'cuda' cannot be used here: ")


@pytest.mark.parametrize("arguments, says", list(BAD_INPUT.values()), ids=list(BAD_INPUT))
def test_bad_input_is_one_line_on_stderr_and_exits_with_2(capsys, arguments, says):
    status, out, err = run(capsys, *arguments)
    assert status == 2 and not out
    assert len(err) == 1 and err[0].startswith(f"python -m nsa_core audit: {says}")


def test_bad_input_is_refused_before_the_first_audit(capsys, monkeypatch):
    monkeypatch.setattr(command, "audit_strategy", lambda *_: pytest.fail("audited"))
    for arguments, _ in BAD_INPUT.values():
        assert run(capsys, *arguments)[0] == 2


def test_help_ends_with_an_example_that_runs(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["audit", "--help"])
    example = capsys.readouterr().out.strip().splitlines()[-1]
    prefix = "example: python -m nsa_core audit "
    assert stopped.value.code == 0 and example.startswith(prefix)
    assert run(capsys, *example.removeprefix(prefix).split(), "--device", DEVICE)[0] == 0
