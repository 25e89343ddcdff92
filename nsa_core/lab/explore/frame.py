"""What every notebook of the collection begins with: the machine it runs on, and the map of its siblings."""

import json
import platform
from importlib import metadata
from pathlib import Path

import torch

from ... import __version__
from ..bench.evidence import committed_set, load


def machine() -> str:
    """Versions and devices, and where the recordings were made: the one cell whose output may differ elsewhere."""
    lines = [f"nsa_core {__version__}, Python {platform.python_version()}, torch {torch.__version__}"]
    for name in ("triton", "matplotlib", "ipywidgets"):
        lines.append(f"{name} {_installed(name)}")
    lines.append(f"{platform.system()} {platform.machine()}, {device()}")
    return "\n".join(
        [*lines, "", "The recordings that these pages quote:", *(e.conditions for e in load(committed_set()))]
    )


def device() -> str:
    """The GPU a replay would run on, or the CPU."""
    if not torch.cuda.is_available():
        return f"CPU with {torch.get_num_threads()} threads, no CUDA device"
    return ", ".join(torch.cuda.get_device_name(at) for at in range(torch.cuda.device_count()))


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def title_of(notebook: Path) -> str:
    """The first heading of a notebook."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    lines = "".join(cells[0]["source"]).splitlines()
    if not lines or not lines[0].startswith("# "):
        raise ValueError(f"{notebook.name} begins with {lines[:1]}; its first cell must begin with a `# ` heading")
    return lines[0].removeprefix("# ").strip()


def collection(folder: str | Path = ".") -> str:
    """Markdown: every numbered notebook of a folder, by its own title."""
    notebooks = sorted(Path(folder).glob("[0-9][0-9]_*.ipynb"))
    return "\n".join(f"- [{notebook.stem}]({notebook.name}): {title_of(notebook)}" for notebook in notebooks)


def agree(by_hand: object, package: object) -> None:
    """Print that two results are equal cell for cell, or raise AssertionError at the first that differs."""
    one, two = (torch.as_tensor(values) for values in (by_hand, package))
    if one.shape != two.shape:
        raise AssertionError(f"by hand the shape is {list(one.shape)}, the package has {list(two.shape)}")
    wrong = (one != two).nonzero().tolist()
    if wrong:
        at = tuple(wrong[0])
        raise AssertionError(f"at {list(at)} it is {one[at].item()} by hand, but {two[at].item()} in the package")
    print(f"equal in all {one.numel()} cells, shape {list(one.shape)}")
