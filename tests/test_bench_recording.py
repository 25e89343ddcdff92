"""Do recordings only grow, survive an interruption, and say what tree they come from?"""

import shutil
import subprocess
import warnings

import pytest
import torch

from nsa_core.lab.bench import BrokenRecording, Recording, conditions, read

ROW = {"case": "record-4", "loop_us": 1.5}


def recorded(path, *rows):
    with Recording(path) as recording:
        recording.append(rows)


def read_quietly(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read(path)


def test_a_second_run_is_appended(tmp_path):
    path = tmp_path / "new folder" / "r.jsonl"
    recorded(path, ROW)
    before = path.read_bytes()
    recorded(path, ROW | {"loop_us": 2.5})
    assert path.read_bytes().startswith(before)
    assert [row["loop_us"] for row in read_quietly(path)] == [1.5, 2.5]


def test_a_row_is_on_disk_before_the_next_is_measured(tmp_path):
    path = tmp_path / "r.jsonl"
    with Recording(path) as recording:
        recording.append([ROW])
        assert read_quietly(path) == [ROW]


@pytest.mark.parametrize("half", ['{"case": "reco', '{"case": "record-4", "loop_us": 1.5', "{"])
def test_half_a_row_at_the_end_is_left_out_and_said(tmp_path, half):
    path = tmp_path / "r.jsonl"
    recorded(path, ROW)
    with path.open("a") as file:
        file.write(half)
    with pytest.warns(UserWarning, match="line 2: half a row of an interrupted run is left out"):
        assert read(path) == [ROW]


@pytest.mark.parametrize("half", ['{"case": "reco', '{"case": "record-4", "loop_us": 1.5}'])
def test_a_run_after_an_interruption_begins_on_a_line_of_its_own(tmp_path, half):
    path = tmp_path / "r.jsonl"
    recorded(path, ROW)
    with path.open("a") as file:
        file.write(half)
    recorded(path, ROW | {"loop_us": 9})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        times = [row["loop_us"] for row in read(path)]
    assert times == ([1.5, 1.5, 9] if half.endswith("}") else [1.5, 9])


@pytest.mark.parametrize("text", ['{"a": 1}\n{"b": \n{"c": 3}\n', '{"b": \n{"c": \n', '[1]\n{"c": 3}\n'])
def test_a_broken_line_that_no_interruption_explains_is_refused_by_number(tmp_path, text):
    path = tmp_path / "r.jsonl"
    path.write_text(text)
    with pytest.raises(BrokenRecording, match=r"line [12] is no row"):
        read(path)


def test_a_number_that_json_cannot_hold_is_refused(tmp_path):
    with Recording(tmp_path / "r.jsonl") as recording, pytest.raises(ValueError, match="not JSON compliant"):
        recording.append([{"loop_us": float("nan")}])


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git checkout with a package of its own."""
    if shutil.which("git") is None:
        pytest.skip("git is missing")
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    who = ("-c", "user.name=a", "-c", "user.email=a@example.invalid")
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.setattr(conditions, "_PACKAGE", package)
    return tmp_path


def conditions_here():
    return conditions.conditions(torch.device("cpu"))


def test_a_clean_tree_names_its_commit(checkout):
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True, check=True)
    here = conditions_here()
    assert (here["commit"], here["dirty"]) == (head.stdout.strip(), False)


@pytest.mark.parametrize("changed", ["package/__init__.py", "untracked.py"])
def test_a_dirty_tree_says_so(checkout, changed):
    (checkout / changed).write_text("1")
    assert conditions_here()["dirty"] is True


def test_a_recording_just_written_does_not_make_the_tree_dirty(checkout):
    recorded(checkout / "notebooks" / "results" / "r.jsonl", ROW)
    assert conditions_here()["dirty"] is False


@pytest.mark.parametrize(
    "named, expected", [("abc", ("abc", False)), ("abc-dirty", ("abc", True)), (None, (None, None))]
)
def test_without_git_the_environment_names_the_commit(tmp_path, monkeypatch, named, expected):
    monkeypatch.setattr(conditions, "_PACKAGE", tmp_path)
    monkeypatch.delenv("NSA_CORE_COMMIT", raising=False)
    if named:
        monkeypatch.setenv("NSA_CORE_COMMIT", named)
    here = conditions_here()
    assert (here["commit"], here["dirty"]) == expected
