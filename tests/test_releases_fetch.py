"""Are releases fetched by hash, kept small, named by licence, and left alone until somebody asks for one?"""

import hashlib
import os
import subprocess
import sys
import zipfile
from dataclasses import replace

import pytest
from release_runs import ROOT, command, environment, require

from nsa_core.lab.releases import RELEASES, NotFetched, cache_folder, fetch

FILES = {
    "sglang/srt/layers/attention/nsa_backend.py": "NAME = 'backend'\n",
    "sglang/srt/server.py": "raise AssertionError('the engine was imported')\n",
    "sglang/jit_kernel/include/a.cuh": "// a\n",
    "sglang-0.0.0.dist-info/licenses/LICENSE": "Apache License\n",
    "sglang-0.0.0.dist-info/RECORD": "",
}
KEPT = sorted(name for name in FILES if "server" not in name and "RECORD" not in name)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A release whose wheel was written here and put into the cache by hand."""
    monkeypatch.setenv("NSA_CORE_RELEASES", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    wheel = tmp_path / "cache" / "sglang-0.0.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as packed:
        for name, text in FILES.items():
            packed.writestr(name, text)
    return replace(
        RELEASES["sglang==0.5.7"],
        version="0.0.0",
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        modules=("sglang.srt.layers.attention.nsa_backend",),
        cuda="sglang/jit_kernel",
    )


def unreachable(monkeypatch):
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")


def test_only_files_that_run_and_the_licence_are_unpacked(made):
    folder = fetch(made)
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == KEPT
    assert folder.parent == cache_folder() and fetch(made) == folder


def test_what_is_in_the_cache_needs_neither_wheel_nor_index(made, monkeypatch):
    folder = fetch(made)
    (cache_folder() / made.wheel).unlink()
    unreachable(monkeypatch)
    assert fetch(made) == folder
    assert list(cache_folder().iterdir()) == [folder]  # nothing half done is left behind


def test_other_files_of_the_same_wheel_are_another_folder(made):
    assert fetch(replace(made, cuda=None)) != fetch(made)


def test_another_wheel_than_the_pinned_one_is_refused_before_it_is_unpacked(made):
    other = replace(made, sha256="0" * 64)
    with pytest.raises(NotFetched, match=f"{made.wheel} has sha256 {made.sha256}, but the release's is 0000"):
        fetch(other)
    assert [path.name for path in cache_folder().iterdir()] == [made.wheel]


def test_an_index_that_cannot_be_reached_is_one_line_with_a_way_out(made, monkeypatch):
    (cache_folder() / made.wheel).unlink()
    unreachable(monkeypatch)
    with pytest.raises(NotFetched) as refusal:
        fetch(made)
    line = str(refusal.value)
    assert line.startswith("sglang==0.0.0 could not be fetched with pip: ") and "\n" not in line
    assert line.endswith(f"put {made.wheel} into {cache_folder()}, or name a folder that has it in NSA_CORE_RELEASES")
    assert list(cache_folder().iterdir()) == []


@pytest.mark.parametrize("name", ("audit", "bench"))
def test_a_command_without_an_index_exits_with_2_in_one_line(name, tmp_path, monkeypatch):
    unreachable(monkeypatch)
    done = command(name, "--release", "sglang==0.5.7", "--device", "cpu", NSA_CORE_RELEASES=str(tmp_path / "none"))
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(f"python -m nsa_core {name}: sglang==0.5.7 could not be fetched with pip: ")


@pytest.mark.parametrize(
    ("variables", "folder"),
    (
        ({"NSA_CORE_RELEASES": "/a"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/nsa_core/releases"),
        ({"HOME": "/c"}, "/c/.cache/nsa_core/releases"),
    ),
    ids=str,
)
def test_the_cache_lies_outside_the_package(variables, folder, monkeypatch):
    for name in ("NSA_CORE_RELEASES", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(cache_folder()) == folder


@pytest.mark.parametrize("name", RELEASES)
def test_a_release_is_small_and_names_its_licence(name):
    require(name)
    files = [path for path in fetch(RELEASES[name]).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_500_000
    (licence,) = [path for path in files if path.name == "LICENSE"]
    assert "Apache License" in licence.read_text()[:100]


def test_nothing_of_the_engine_is_imported_or_fetched_unless_it_is_asked_for(tmp_path):
    code = """
import sys
import nsa_core.lab.releases
from nsa_core.__main__ import main
status = main(["audit", "--device", "cpu", "--strategy", "copy", "--page-size", "64", "--steps", "1"])
engine = [name for name in sys.modules if name.partition(".")[0] in ("sglang", "sgl_kernel", "deep_gemm")]
print(status, engine, any("releases" in type(finder).__module__ for finder in sys.meta_path))
"""
    cache = environment(NSA_CORE_RELEASES=str(tmp_path / "none"))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=cache, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 [] False", done.stderr
    assert not (tmp_path / "none").exists()
