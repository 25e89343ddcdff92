"""Do check, bench, decide and explore refuse what they cannot work with in one line and with exit status 2?"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nsa_core.__main__ import main

ROOT = Path(__file__).parents[1]
SHORT = {
    "check": "check --device cpu --trace azure --strategy copy",
    "bench": "bench --device cpu --case decode-bs-1 --strategy copy --budget 0.001",
    "decide": "decide",
    "explore": "explore",
}
HOSTILE = {
    "check": {
        "--strategy nope": "no strategy named nope; there are eager, copy,",
        "--trace nope": "argument --trace: invalid choice: 'nope'",
        "--trace-steps 0": "steps must be at least 1, got 0",
        "--trace-steps -5": "steps must be at least 1, got -5",
        "--trace-steps 2.5": "argument --trace-steps: invalid int value: '2.5'",
        "--steps 0": "num_steps must be at least 1, got 0",
        "--width 0": "width must be at least 1, got 0",
        "--width 5": "none of 3000 requests fits width 9",
        "--width 99999999999": "width must be at most 2147483647",
        "--max-batch 0": "max_batch must lie in 1..inf, got 0",
        "--device meta": "req_to_token is a Tensor on meta",
        "--device nope": "device type at start of device string: nope",
    },
    "bench": {
        "--case nope": "case 'nope' matches none of: record-4, ",
        "--case=": "case '' matches none of: record-4, ",
        "--case": "argument --case: expected one argument",
        "--strategy nope": "strategy 'nope' is not known; choose from eager, ",
        "--strategy fused": "strategy 'fused' cannot be timed on cpu: ",
        "--device meta": "device must be cpu or cuda, got meta",
        "--device nope": "device type at start of device string: nope",
        "--budget 0": "--budget must be a finite number above 0, got 0",
        "--budget soon": "argument --budget: invalid float value: 'soon'",
        "--page-size 0": "unrecognized arguments: --page-size 0",
        "--report missing": "No such file or directory: 'missing'",
        "--report .": ". has no recordings; record one: ",
        "--evidence missing --seconds 0": "--seconds must be a finite number above 0, got 0",
        "--anyway --record /dev/full": "No space left on device: '/dev/full'",
        "--release sglang==0.5": "release 'sglang==0.5' is not known; choose one of sglang==0.5.6.post2, ",
        "--release sglang==0.5.7,vllm": "release 'vllm' is not known; choose one of ",
        "--release sglang==0.5.7 --case step-offset-decode": "case 'step-offset-decode' has a condition ",
        "--release sglang==0.5.7 --flag A=1": "--flag A=1: sglang==0.5.7 chooses its refresh by SGLANG_NSA_ENABLE",
        "--flag A=1": "--flag is for a release; name one with --release",
    },
    "decide": {
        "--recording missing": "No such file or directory: 'missing'",
        "--claims --recording .": ". has no recordings; record one: ",
        "--steps 3": "steps is 3; recorded are 1, 2, 4, 8, 16",
        "--contract none": "argument --contract: invalid choice: 'none'",
        "--decode-step-us nan": "--decode-step-us must be a finite number above 0, got nan",
        "--decode-step-us long": "argument --decode-step-us: invalid float value: 'long'",
        "--device nope": "device type at start of device string: nope",
    },
    "explore": {
        "--mode nope": "argument --mode: invalid choice: 'nope'",
        "--lengths 7,many": "argument --lengths: '7,many' is no list of whole numbers such as 7,12,3",
        "--lengths 99": "seq_lens[0] is 99",
        "--lengths= --before=": "captured_bs must be at least 1, got 0",
        "--captured-bs 0": "captured_bs must be at least 1, got 0",
        "--captured-bs -1": "captured_bs must be at least 1, got -1",
        "--width 0": "width must be at least 1, got 0",
        "--steps 0": "steps must be at least 1, got 0",
        "--page-size 0": "page_size must be at least 1, got 0",
        "--replay 0": "replay is 0, but the story has 1..7",
        "--step -1": "step is -1, but the captured steps are 0..2",
        "--mode draft_extend --lengths 9 --accept 9": "accept_length[0] is 9; it must lie in 0..3",
        "--out /dev/full": "No space left on device",
        "--out .": "Is a directory: '.'",
    },
}


def refusal(capsys, *words):
    """The one line with which a command refuses its arguments."""
    assert main(list(words)) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and printed.startswith("python -m nsa_core")
    return printed


@pytest.mark.parametrize(
    "name, options, says", [(name, *line) for name, lines in HOSTILE.items() for line in lines.items()]
)
def test_arguments_are_refused_in_one_line(name, options, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = refusal(capsys, *SHORT[name].split(), *options.split())
    assert line.startswith(f"python -m nsa_core {name}: ") and says in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words, says", [([], "the following arguments are required"), (["nope"], "invalid choice")])
def test_a_command_that_is_none_is_refused_in_one_line(words, says, capsys):
    assert says in refusal(capsys, *words)


@pytest.mark.parametrize("name", ["check", "bench", "decide"])
def test_a_gpu_that_is_not_there_is_refused_in_one_line(name, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    line = refusal(capsys, *SHORT[name].split(), "--device", "cuda")
    assert "device 'cuda' is not here: this machine has 0 CUDA devices" in line


@pytest.mark.parametrize("words", [["bench", "--list", "--device", "cpu"], ["decide", "--claims"]], ids=" ".join)
def test_a_full_disk_behind_stdout_is_one_line(words):
    """In a process of its own: what Python holds back is written, or not, when the command ends."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "nsa_core", *words]
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"python -m nsa_core {words[0]}: [Errno 28] No space left on device")
    assert done.stderr.count("\n") == 1


def test_a_traceback_is_there_for_who_asks(monkeypatch):
    monkeypatch.setenv("NSA_CORE_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError):
        main(["bench", "--report", "missing"])


@pytest.mark.parametrize("words", [[], *([name] for name in SHORT)], ids=" ".join)
def test_every_help_ends_with_an_example(words, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([*words, "--help"])
    command = " ".join(["python -m nsa_core", *words])
    assert command in capsys.readouterr().out.splitlines()[-1]
