"""Do `bench` and `decide` refuse what they cannot work with in one line and with exit status 2?"""

import json
import warnings

import pytest
from bench_rows import AS_ON_AN_H200, recording

from nsa_core.__main__ import main
from nsa_core.strategies import REGISTRY
from nsa_core.strategies.copy import Copy

SHORT = ("bench", "--device", "cpu", "--case", "decode-bs-1", "--strategy", "copy", "--budget", "0.001")
READERS = (("bench", "--report"), ("decide", "--recording"), ("decide", "--claims", "--recording"))

every_reader = pytest.mark.parametrize("command", READERS, ids=" ".join)


def refusal(capsys, *arguments):
    """The one line with which a command refuses its input."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning would be a second line
        assert main([str(argument) for argument in arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"python -m nsa_core {arguments[0]}: ")
    return lines[0]


def written(tmp_path, rows):
    path = tmp_path / "r.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("column", ["loop_us", "loop_us_q1", "device_us_q3", "gb_per_s"])
@pytest.mark.parametrize("value", [-1, 0, float("inf"), float("nan"), "12", True], ids=repr)
@every_reader
def test_a_measurement_that_is_none_is_refused_by_line_and_column(capsys, tmp_path, command, column, value):
    rows = recording(AS_ON_AN_H200)
    path = written(tmp_path, [*rows[:2], rows[2] | {column: value}, *rows[3:]])
    assert f"{path}, line 3: {column} is {value!r}, must be a finite number" in refusal(capsys, *command, path)


def test_a_quartile_is_a_number_where_a_median_may_be_missing(capsys, tmp_path):
    rows = recording(AS_ON_AN_H200)
    path = written(tmp_path, [rows[0] | {"loop_us_q1": None}])
    assert "line 1: loop_us_q1 is None" in refusal(capsys, "bench", "--report", path)


def test_any_number_that_is_not_finite_is_refused(capsys, tmp_path):
    path = written(tmp_path, [recording(AS_ON_AN_H200)[0] | {"bytes_generate": float("nan")}])
    assert "line 1: bytes_generate is nan, must be a finite number" in refusal(capsys, "bench", "--report", path)


@pytest.mark.parametrize("lost", ["loop_us_q1", "loop_us_q3", "loop_us_n"])
def test_a_time_without_its_spread_is_refused_by_case_and_column(capsys, tmp_path, lost):
    rows = recording(AS_ON_AN_H200)
    rows = [{key: value for key, value in row.items() if key != lost} for row in rows]
    reason = refusal(capsys, "decide", "--recording", written(tmp_path, rows))
    assert f"record-4, copy: loop_us stands without {lost}" in reason


@pytest.mark.parametrize("lost", ["machine", "date", "kind"])
@every_reader
def test_a_row_that_belongs_to_no_run_is_refused(capsys, tmp_path, command, lost):
    rows = [{key: value for key, value in row.items() if key != lost} for row in recording(AS_ON_AN_H200)]
    assert f"a row lacks {lost}" in refusal(capsys, *command, written(tmp_path, rows))


NO_RECORDINGS = {
    "empty": (b"", "has no rows"),
    "half a row": (b'{"case": "reco', "has no rows"),
    "binary": (b"\x7fELF\x02\x01\xff\xfe\x00", "is no recording: byte 6 is not UTF-8 text"),
    "no JSON": (b"\x00\x01\n\x02\n", "line 1 is no row"),
    "a list": (b"[1]\n[2]\n", "line 1 is no row"),
    "deep": (b"[" * 200_000 + b"\n", "line 1 is no row: "),
    "long number": (b'{"loop_us": ' + b"1" * 5000 + b"}\n", "line 1 is no row: Exceeds the limit"),
}


@pytest.mark.parametrize("content, reason", NO_RECORDINGS.values(), ids=NO_RECORDINGS)
@pytest.mark.parametrize("command", READERS, ids=" ".join)
def test_a_file_that_is_no_recording_is_refused_by_name(capsys, tmp_path, command, content, reason):
    path = tmp_path / "r.jsonl"
    path.write_bytes(content)
    line = refusal(capsys, *command, path)
    assert str(path) in line and reason in line


@pytest.mark.parametrize("command", [(*SHORT, "--anyway", "--record")], ids=" ".join)
def test_a_directory_is_refused_by_name(capsys, tmp_path, command):
    assert f"Is a directory: '{tmp_path}'" in refusal(capsys, *command, tmp_path)


@every_reader
def test_a_set_without_recordings_is_refused_by_name(capsys, tmp_path, command):
    assert f"{tmp_path} has no recordings; record one: " in refusal(capsys, *command, tmp_path)


@pytest.mark.parametrize("command", READERS, ids=" ".join)
def test_a_missing_file_is_refused_by_name(capsys, tmp_path, command):
    assert f"No such file or directory: '{tmp_path / 'none'}'" in refusal(capsys, *command, tmp_path / "none")


def test_a_byte_order_mark_is_no_part_of_the_first_row(capsys, tmp_path):
    path = written(tmp_path, recording(AS_ON_AN_H200))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert main(["decide", "--recording", str(path)]) == 0
    assert "Verdict: the revert stands; open: " in capsys.readouterr().out


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "0"])
@pytest.mark.parametrize("command", [("decide",), ("decide", "--claims")], ids=" ".join)
def test_a_decode_step_of_no_length_is_refused(capsys, command, value):
    line = refusal(capsys, *command, f"--decode-step-us={value}")
    assert f"--decode-step-us must be a finite number above 0, got {value}" in line


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "0"])
def test_a_budget_that_measures_nothing_is_refused(capsys, value):
    line = refusal(capsys, *SHORT[:-2], f"--budget={value}")
    assert f"--budget must be a finite number above 0, got {value}" in line


def test_a_refused_option_leaves_no_recording_behind(capsys, tmp_path):
    refusal(capsys, *SHORT, "--strategy", "nope", "--record", tmp_path / "r.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_a_constructor_that_raises_fails_the_bench(capsys, monkeypatch):
    class CannotBeBound(Copy):
        name = "cannot-be-bound"

        def __init__(self, captured):
            raise ValueError("bs 1 broke")

    monkeypatch.setitem(REGISTRY, CannotBeBound.name, CannotBeBound)
    assert main([*SHORT, "--strategy", "copy,cannot-be-bound"]) == 1
    assert "FAILED: decode-bs-1 cannot-be-bound: ValueError: bs 1 broke" in capsys.readouterr().out


def test_a_run_that_lacks_the_kept_path_is_nothing_to_decide_from(capsys, tmp_path):
    rows = [row for row in recording(AS_ON_AN_H200) if row["name"] != "copy"]
    assert main(["decide", "--recording", str(written(tmp_path, rows))]) == 1
    assert capsys.readouterr().err == "nothing to decide from: record-4, copy strategy was not measured\n"
