"""Does `import nsa_core` need torch alone, stay quick, and do import arrows point one way?"""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "nsa_core"

# A module imports only from those above it. `__init__` is the package's public face: what stands above is what it may
# export, what stands below may `from nsa_core import NAME`.
LAYERS = [
    "show",
    "config",
    "batch",
    "metadata",
    "adopt",
    "kernels",
    "schedules",
    "precompute",
    "plan",
    "strategies",
    "multistep",
    "audit",
    "__init__",
    "lab",
    "lab.device",
    "lab.trace",
    "lab.check",
    "lab.bench",
    "lab.decision",
    "lab.releases",
    "lab.explore",
    "__main__",
]
TRITON_HOMES = {"kernels", "strategies"}
READERS_ONLY = {"IPython", "PIL", "anywidget", "ipywidgets", "matplotlib", "numpy", "pandas", "seaborn", "tqdm"}
IMPORT_LIMIT = 0.5  # seconds beside torch; about 0.02 s is usual, so this only catches a heavy import

WITHOUT = ["triton", "numpy", "pandas", "seaborn", "matplotlib", "ipywidgets", "tqdm", "IPython", "hypothesis"]
ABSENT = f"""
import importlib.machinery, sys
class Others(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {WITHOUT} else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Others
"""
NAMES = """
import json, nsa_core
missing = [name for name in nsa_core.__all__ if not hasattr(nsa_core, name)]
print(json.dumps({"all": nsa_core.__all__, "missing": missing, "version": nsa_core.__version__}))
"""
SECONDS = """
import json, time, torch
begin = time.perf_counter()
import nsa_core
print(json.dumps({"seconds": time.perf_counter() - begin, "cuda": torch.cuda.is_initialized()}))
"""


def interpret(code):
    """Run `code` in an interpreter of its own."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=False, cwd=PACKAGE.parent, capture_output=True, text=True, timeout=120)


def answer_of(code):
    """The JSON that `code` prints last."""
    done = interpret(code)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", WITHOUT)
def test_an_absent_package_is_really_absent(name):
    assert f"No module named '{name}'" in interpret(ABSENT + f"import {name}").stderr


def test_every_public_name_resolves_with_torch_alone():
    answer = answer_of(ABSENT + NAMES)
    assert answer["missing"] == [] and len(answer["all"]) >= 12 and answer["version"]


def test_import_is_quick_beside_torch_and_leaves_cuda_alone():
    seconds = []
    for _ in range(3):
        answer = answer_of(SECONDS)
        assert answer["cuda"] is False
        seconds.append(answer["seconds"])
        if seconds[-1] < IMPORT_LIMIT:
            break
    assert min(seconds) < IMPORT_LIMIT, f"best of {seconds} s is above {IMPORT_LIMIT} s"


def files():
    return sorted(PACKAGE.rglob("*.py"))


def module_of(path):
    """The name LAYERS knows a file by: that of its module, or of its folder, under the package or under lab/."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:2]) if parts[0] == "lab" and parts[1] != "__init__" else parts[0]


def absolute(node, path):
    """The dotted names of one import statement; `from a import b` gives a.b, whether b is a module or not."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    folder = ("nsa_core", *path.relative_to(PACKAGE).parts[:-1])
    above = folder[: len(folder) - node.level + 1] if node.level else ()
    return [".".join([*above, *filter(None, [node.module]), alias.name]) for alias in node.names]


def imports(tree, path, at_import_only=False):
    """Dotted names of every import below `tree`; with at_import_only, those that run when the module is imported."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from absolute(node, path)
        elif not (at_import_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            yield from imports(node, path, at_import_only)


def inside(dotted):
    """The module that a dotted name inside nsa_core belongs to; a name that is no module is the package's own."""
    parts = dotted.split(".")[1:]
    names = {*LAYERS, *map(module_of, files())}
    known = (".".join(parts[:depth]) for depth in (2, 1) if ".".join(parts[:depth]) in names)
    return next(known, "__init__")


def wrong_arrows(name, found):
    """Those imports of module `name` that do not point to one above it."""
    targets = {inside(dotted) for dotted in found if dotted.partition(".")[0] == "nsa_core"} - {name}
    return sorted(target for target in targets if target not in LAYERS[: LAYERS.index(name)])


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_point_one_way(path):
    name = module_of(path)
    assert name in LAYERS, f"add {name!r} to LAYERS in tests/test_import.py, below everything it imports"
    assert wrong_arrows(name, imports(ast.parse(path.read_text()), path)) == []


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_packages_are_imported_only_where_they_are_used(path):
    name, tree = module_of(path), ast.parse(path.read_text())
    everywhere = {dotted.partition(".")[0] for dotted in imports(tree, path)}
    at_import = {dotted.partition(".")[0] for dotted in imports(tree, path, at_import_only=True)}
    assert "triton" not in everywhere or name in TRITON_HOMES
    assert not at_import & READERS_ONLY or name == "lab.explore"


@pytest.mark.parametrize(
    "name, source, wrong",
    [
        ("plan", "from .precompute import precompute", []),
        ("plan", "from . import precompute", []),
        ("plan", "def f():\n    from .multistep import MultiStepBackend", ["multistep"]),
        ("plan", "import nsa_core.strategies", ["strategies"]),
        ("plan", "from nsa_core import ReplayBatch", ["__init__"]),
        ("plan", "import nsa_core as nsa", ["__init__"]),
        ("lab.check", "from nsa_core import ReplayBatch", []),
        ("lab.check", "import nsa_core.lab.bench as bench", ["lab.bench"]),
        ("audit", "from .lab import trace", ["lab.trace"]),
        ("audit", "from .lab.trace import TraceEngine", ["lab.trace"]),
        ("config", "from .batch import ReplayBatch", ["batch"]),
    ],
)
def test_the_arrow_check_sees_every_spelling(name, source, wrong):
    assert wrong_arrows(name, imports(ast.parse(source), PACKAGE / f"{name}.py")) == wrong
