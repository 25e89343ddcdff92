"""Does the README's example run and print what it says, and does the README name what is there?"""

import re
from pathlib import Path

import pytest

import nsa_core as nsa
from nsa_core.__main__ import main

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text()
NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))


def test_the_example_prints_what_the_readme_shows(capsys):
    code, shown = re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", TEXT, re.S).groups()
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out == shown


def test_the_finding_is_what_the_audit_recorded():
    """`...` is what was left out; `--mode decode` is the first part of the recording."""
    command, *lines = re.search(r"```\n\$ (.*? audit .*?)\n```", TEXT, re.S).group(1).splitlines()
    transcript = (ROOT / "notebooks" / "results" / "releases" / "audits-h100.txt").read_text()
    start = f"\n$ {command.removesuffix(' --mode decode')}\n"
    recorded = transcript.partition(start)[2].partition("TARGET_VERIFY")[0].splitlines()
    assert lines and all(any(there.startswith(line.removesuffix(" ...")) for there in recorded) for line in lines)


def test_code_is_not_wider_than_a_page():
    blocks = re.findall(r"```.*?```", TEXT, re.S)
    assert [line for block in blocks for line in block.splitlines() if len(line) > 88] == []


def test_the_example_is_ten_lines():
    code = re.search(r"```python\n(.*?)```", TEXT, re.S).group(1)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10


def test_every_notebook_is_linked_and_every_link_leads_somewhere():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", TEXT)
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert sorted({Path(link).name for link in links if link.endswith(".ipynb")}) == NOTEBOOKS


def test_strategies_that_the_readme_names_exist_and_its_command_names_the_others(capsys):
    assert {"eager", "copy", "batched", "fused", "graph"} <= set(nsa.strategies())
    assert "`python -m nsa_core bench --list` names all strategies" in TEXT
    assert main(["bench", "--list", "--device", "cpu"]) == 0
    listed = capsys.readouterr().out
    assert all(f" {name}: " in listed for name in nsa.strategies())


@pytest.mark.parametrize("target", re.findall(r"`?make ([a-z]+)", TEXT))
def test_every_make_target_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)


def test_the_picture_is_small():
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", TEXT)
    assert len(pictures) == 1 and all((ROOT / picture).stat().st_size < 200_000 for picture in pictures)
