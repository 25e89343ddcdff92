"""Write environment.yml from pyproject.toml: `python tests/make_environment.py`; with --check, compare only."""

import argparse
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("notebooks", "test")
CONDA_NAMES = {"torch": "pytorch"}
PIP_ONLY = {"playwright"}  # on conda-forge the name belongs to another package

HEADER = """\
# Generated from pyproject.toml by tests/make_environment.py; edit that file and run the script again.
# `pytorch`, not `pytorch-cpu`: the solver then takes a CUDA build where it finds a driver, and a CPU build elsewhere.
"""


def requirements(project):
    """The core's requirements and those of EXTRAS, as one list."""
    optional = project["optional-dependencies"]
    return [Requirement(line) for line in project["dependencies"] + [r for extra in EXTRAS for r in optional[extra]]]


def conda_line(requirement):
    """conda's spelling of a requirement. Only operators that pip and conda read the same way pass."""
    name = canonicalize_name(requirement.name)
    for specifier in requirement.specifier:
        if specifier.operator not in ("==", ">=", "<=", "<", ">", "!="):
            raise ValueError(f"{requirement}: conda reads {specifier.operator!r} differently; write it with >= and <")
    return f"{CONDA_NAMES.get(name, name)} {','.join(sorted(map(str, requirement.specifier)))}".rstrip()


def render(project):
    """environment.yml's text. What has a marker, or no package of that name, has no conda spelling: the pip list."""
    listed = requirements(project)
    pip_only = [requirement for requirement in listed if requirement.marker or requirement.name in PIP_ONLY]
    conda = sorted({conda_line(requirement) for requirement in listed if requirement not in pip_only})
    pip = sorted({str(requirement) for requirement in pip_only})
    lines = [f"name: {project['name']}", "channels:", "  - conda-forge", "  - nodefaults", "dependencies:"]
    lines += [f"  - {line!r}" for line in (f"python{project['requires-python']}", "pip", *conda)]
    return HEADER + "\n".join([*lines, "  - pip:", *(f"      - {line!r}" for line in (*pip, "-e ."))]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 if environment.yml is not what would be written")
    target, text = ROOT / "environment.yml", render(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])
    if not parser.parse_args().check:
        target.write_text(text)
    elif not target.exists() or target.read_text() != text:
        sys.exit("environment.yml is not what pyproject.toml gives; run: python tests/make_environment.py")


if __name__ == "__main__":
    main()
