"""Run notebooks top to bottom and store their outputs: `make notebooks`, or `refresh.py NAME.ipynb ...`.

The only writer of stored outputs. An unchanged notebook is written back byte for byte, so a diff shows what changed.
"""

import os
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from nsa_core.lab.explore import prose

HERE = Path(__file__).resolve().parent
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
# A warning names the cell by a file of the kernel's process; tests/nbval_sanitize.cfg replaces it in the same way.
KERNEL_FILE = re.compile(r"\S*/ipykernel_[0-9]+/[0-9]+\.py")
# Without the interpreter's version, which would differ from machine to machine.
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


KEPT = ("tags", "jupyter", prose.METADATA)  # of a cell's metadata; "jupyter" hides a source that is not taught


def render(notebook):
    """Bring the numbers in sentences up to date."""
    for cell in notebook.cells:
        if prose.METADATA in cell.metadata:
            cell.source = prose.render(cell.metadata[prose.METADATA])


def run(notebook, folder):
    """Execute every cell in a fresh kernel whose working directory is `folder`; raises CellExecutionError."""
    options = {"kernel_name": "python3", "timeout": 120, "skip_cells_with_tag": "nbval-skip"}
    # Time stamps, and streams split where the kernel happened to flush, would differ between two equal runs.
    options |= {"record_timing": False, "coalesce_streams": True}
    NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}, **options).execute()


def clean_output(output):
    """Drop what only its own session can use: widget model ids, temporary names, tracebacks with paths."""
    output.get("data", {}).pop(WIDGET_VIEW, None)
    if output["output_type"] == "stream":
        output["text"] = KERNEL_FILE.sub("IPYKERNEL.py", output["text"])
    if output["output_type"] == "error":
        output["traceback"] = [f"{output['ename']}: {output['evalue']}"]


def clean(notebook):
    """Reduce an executed notebook to what is stored: sources, KEPT, outputs. Widget state is not stored."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({key: value for key, value in cell.metadata.items() if key in KEPT})
        for output in cell.get("outputs", []):
            clean_output(output)
        if "outputs" in cell:  # a widget's own output has nothing else; its picture is the one before
            cell.outputs = [output for output in cell.outputs if output.get("data", True)]
    return notebook


def stored_text(notebook):
    """The file's text, as this script writes it."""
    nbformat.validate(notebook)
    return nbformat.writes(notebook).removesuffix("\n") + "\n"


def refresh(path):
    """Run one notebook and rewrite it; True if its bytes changed. A notebook that raises stays as it was."""
    notebook = nbformat.read(path, as_version=4)
    render(notebook)
    run(notebook, path.parent)
    before, after = path.read_text(encoding="utf-8"), stored_text(clean(notebook))
    path.write_text(after, encoding="utf-8")
    return before != after


def main(names):
    os.environ.pop("TRITON_INTERPRET", None)  # as in `make lab`; the tests run the notebooks the same way
    for path in [Path(name).resolve() for name in names] or sorted(HERE.glob("*.ipynb")):
        print(f"{path.name}: {'changed' if refresh(path) else 'unchanged'}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
