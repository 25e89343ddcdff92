"""From stored notebooks to pages: links into the glossary, folded sources, tables of contents, docstrings."""

import json
import re
import shutil
from html import escape
from inspect import signature
from pathlib import Path

from nsa_core.lab.bench.evidence import committed
from nsa_core.lab.explore import page, pictures

FRONT = Path(page.__file__).parent / "front"
NO_FRONT = shutil.ignore_patterns("*.py", "*.md", "__pycache__")
TERM = re.compile(r"^\*\*(.+?)\.\*\*", re.MULTILINE)
FILE = re.compile(r'"([\w/-]+)\.(?:md|ipynb)"')
PICTURE = re.compile(r"^\(picture: (\w+)\)$", re.MULTILINE)
BOLD = re.compile(r"(?<![\[*])\*\*([^*\n.]+)\*\*(?![\]*])")
LINK = re.compile(r"\[([^\]]+)\]\(glossary\.md\)")
HEADING = re.compile(r"(\]\([\w-]*(?:\.ipynb|\.md)?)#([^)\s]+)\)")
STORED = (
    "*A notebook, as it was stored. Tables, questions and pictures with controls move here; code runs in JupyterLab.*"
)


def slug(term: str) -> str:
    return "term-" + re.sub(r"[^a-z0-9_]+", "-", term.lower()).strip("-")


def names(term: str) -> list[str]:
    """The names that one entry of the glossary explains: 'Draft, draft step' are two."""
    return [name.strip("` ").lower() for name in term.split(",")]


def glossary(text: str) -> str:
    """Every term gets an address of its own."""
    return TERM.sub(lambda term: f"({slug(term[1])})=\n{term[0]}", text)


def terms(folder: Path) -> dict[str, str]:
    """Name of a term: its address in the glossary."""
    found = TERM.findall((folder / "glossary.md").read_text(encoding="utf-8"))
    return {name: slug(term) for term in found for name in names(term)}


def linked(text: str, known: dict[str, str]) -> str:
    """Terms in bold, and links to the glossary with a term as their text, lead to that term."""

    def to(found: re.Match) -> str:
        name = found[1].strip("`*_ ").lower()
        anchor = known.get(name) or known.get(name.removesuffix("s"))
        shown = found[1] if found.re is LINK else found[0]
        return f"[{shown}](#{anchor})" if anchor else found[0]

    return LINK.sub(to, BOLD.sub(to, HEADING.sub(_heading, text)))


def _heading(link: re.Match) -> str:
    """JupyterLab's address of a heading keeps capitals and signs, a page's does not."""
    return f"{link[1]}#{re.sub(r'[^a-z0-9_-]', '', link[2].lower())})"


def toctree(folder: Path) -> str:
    """The pages, in order: whatever notebooks there are, then the others."""
    start, *books = (path.stem for path in sorted(folder.glob("[0-9][0-9]_*.ipynb")))
    lines = [f"{stem.replace('_', ' ')} <{'self' if stem == start else stem}>" for stem in (start, *books)]
    others = ("site/moving", *sorted(path.stem for path in folder.glob("*.md")), "site/claims", "site/api")
    options = ":hidden:\n:caption: "
    blocks = ((f"{options}Notebooks", lines), (f"{options}Beside them", others))
    return "\n\n".join("\n".join(["```{toctree}", head, "", *body, "```"]) for head, body in blocks)


def notebook(text: str, folder: Path, more: str = "") -> str:
    """A notebook's text as its page shows it; more: Markdown behind its last cell."""
    book, known = json.loads(text), terms(folder)
    for cell in book["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = linked("".join(cell["source"]), known)
        cell["metadata"].setdefault("tags", [])
        fold(cell)
        if "outputs" in cell:
            describe(cell)
            mount(cell)
    title, _, rest = book["cells"][0]["source"].partition("\n")
    book["cells"][0]["source"] = f"{title}\n\n{STORED}\n{rest}"
    if more:
        book["cells"].append({"id": "contents", "cell_type": "markdown", "metadata": {}, "source": more})
    return json.dumps(book)


def describe(cell: dict) -> None:
    """What a picture says, as its alternative text: the words that are stored beside it."""
    words = [
        output["data"].get("text/plain", "") for output in cell["outputs"] if "image/png" in output.get("data", {})
    ]
    if words:
        alt = " ".join("".join(words[0]).split())[:500]
        cell["metadata"].setdefault("mystnb", {})["image"] = {"alt": alt}


def place(stored: dict) -> str:
    """Where static/site.js draws a front end; stored: the metadata of a widget's output."""
    text = json.dumps(page.page_model(stored[page.METADATA])).replace("<", "\\u003c")
    text = FILE.sub(r'"\1.html"', text)
    return f'<div class="nsa-front"><script type="application/json">{text}</script></div>'


def mount(cell: dict) -> None:
    """In front of every output that a front end can draw: a place for it. site.js then hides the still form."""
    outputs = []
    for output in cell["outputs"]:
        stored = output.get("metadata", {})
        if page.METADATA in stored:
            outputs.append({"output_type": "display_data", "metadata": {}, "data": {"text/html": place(stored)}})
        outputs.append(output)
    cell["outputs"] = outputs


def picture(name: str) -> str:
    """A moving picture of the package on a page that is no notebook: its place, and its still form."""
    make = getattr(pictures, name)
    shown = make(committed()) if "evidence" in signature(make).parameters else make()
    data, _ = shown.static()
    png = f'<img alt="{escape(shown.words)}" src="data:image/png;base64,{data.get("image/png")}">'
    still = data.get("text/html", png)
    return f'<div><div class="output">{place(shown.on_a_page())}</div><div>{still}</div></div>'


def fold(cell: dict) -> None:
    """Fold away what a reader of a page does not need at once: the machine, the imports, hidden sources."""
    source = "".join(cell["source"])
    if "machine()" in source:
        tag, prompt = "hide-cell", "Where this was run"
    elif source.startswith(("import ", "from ")) and not cell.get("outputs"):
        tag, prompt = "hide-input", "What is imported"
    elif cell["metadata"].get("jupyter", {}).get("source_hidden"):
        tag, prompt = "hide-input", "The code"
    else:
        return
    cell["metadata"]["tags"].append(tag)
    cell["metadata"].setdefault("mystnb", {}).update(code_prompt_show=prompt, code_prompt_hide=prompt)


def docstring(_app, _what, _name, _object, _options, lines: list[str]) -> None:
    """Docstrings are plain text with `names`; as reStructuredText, 'name: what it is' becomes a list."""
    text, inside = [], False
    for at, line in enumerate(lines):
        starts = at and re.match(r"([a-z_]\w*(?:, [a-z_]\w*)*): ", line)
        if starts:
            text += [*([] if inside else [""]), f"- **{plain(starts[1])}**: {plain(line[starts.end() :])}"]
        elif inside and line.strip():
            text.append(f"  {plain(line.strip())}")
        else:
            text.append(plain(line.strip()))
        inside = bool(line.strip()) and (inside or bool(starts))
    lines[:] = text


def plain(line: str) -> str:
    """One line of text whose marks mean nothing, except that `names` are code."""
    parts = line.split("`")
    return "".join(f"``{part}``" if at % 2 else re.sub(r"([\\*_|])", r"\\\1", part) for at, part in enumerate(parts))
