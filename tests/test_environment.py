"""Do pyproject.toml, environment.yml and constraints.txt ask for the same things?"""

import re
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest
import yaml
from make_environment import render
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DIRECT = sorted({*PROJECT["dependencies"], *(line for lines in EXTRAS.values() for line in lines)})
FROM_CONDA = {"pytorch": "torch"}


def by_name(lines):
    """name -> (versions, markers): what these requirement lines ask for together."""
    wanted = defaultdict(lambda: (set(), set()))
    for requirement in map(Requirement, lines):
        name = canonicalize_name(requirement.name)
        versions, markers = wanted[FROM_CONDA.get(name, name)]
        versions |= set(map(str, requirement.specifier))
        markers |= {str(requirement.marker)}
    return dict(wanted)


def listed(environment):
    """environment.yml's conda packages and its pip lines."""
    conda = [line for line in environment["dependencies"] if isinstance(line, str)]
    (pip,) = [line["pip"] for line in environment["dependencies"] if isinstance(line, dict)]
    return conda, pip


@pytest.fixture
def environment():
    return yaml.safe_load((ROOT / "environment.yml").read_text())


def test_environment_file_is_what_the_generator_writes():
    assert (ROOT / "environment.yml").read_text() == render(PROJECT), "run: python tests/make_environment.py"


def test_environment_asks_for_exactly_what_pyproject_asks_for(environment):
    conda, pip = listed(environment)
    asked = by_name([line for line in conda + pip if line != "-e ."])
    assert asked.pop("python") == ({PROJECT["requires-python"]}, {"None"})
    assert asked.pop("pip") == (set(), {"None"})
    assert asked == by_name(PROJECT["dependencies"] + EXTRAS["notebooks"] + EXTRAS["test"])


def test_environment_installs_the_project_itself_from_one_channel(environment):
    assert environment["name"] == PROJECT["name"]
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    assert listed(environment)[1][-1] == "-e ."


def pins():
    """constraints.txt as name -> version."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    split = [line.partition("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, _, version in split}


def test_constraints_are_plain_pins_that_exist_on_every_machine():
    text = (ROOT / "constraints.txt").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line)] == []
    assert len(pins()) == len(lines), "a package is pinned twice"


@pytest.mark.parametrize("line", DIRECT)
def test_every_direct_requirement_is_pinned_inside_its_range(line):
    requirement = Requirement(line)
    assert pins()[canonicalize_name(requirement.name)] in requirement.specifier


def test_the_core_asks_for_torch_alone():
    assert [Requirement(line).name for line in PROJECT["dependencies"]] == ["torch"]
    assert "3.11" in SpecifierSet(PROJECT["requires-python"]) and "3.10" not in SpecifierSet(
        PROJECT["requires-python"]
    )
