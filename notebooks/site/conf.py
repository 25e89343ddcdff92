"""The notebooks as web pages: `make site`. Nothing is executed; what the notebooks store is what the pages show."""

import re
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import pages  # noqa: E402

from nsa_core.lab.explore import palette  # noqa: E402

START = "00_start_here"

project = "nsa_core"
author = "the nsa_core project"
project_copyright = "2026, the nsa_core project, under the Apache-2.0 licence"
html_title = "nsa_core: refreshing what a captured graph reads"
root_doc = START
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.githubpages"]
exclude_patterns = ["results", "**.ipynb_checkpoints"]
suppress_warnings = ["mystnb.unknown_mime_type"]

nb_execution_mode = "off"
nb_number_source_lines = False
nb_merge_streams = True
nb_render_markdown_format = "myst"  # so that links in outputs lead to pages
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

html_theme = "sphinx_book_theme"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"type": "module"})]
html_show_sourcelink = False
html_copy_source = False
html_use_index = False
html_domain_indices = False
html_favicon = "static/icon.svg"
html_context = {"default_mode": "auto"}
html_theme_options = {
    "show_navbar_depth": 1,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navbar_persistent": [],
    "navigation_with_keys": True,
}

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}


def setup(app):
    app.connect("source-read", read)
    app.connect("autodoc-process-docstring", pages.docstring)
    app.connect("build-finished", finish)


def read(app, name, source):
    """What stands in a page instead of what stands in its file."""
    if re.match(r"\d\d_", name):
        source[0] = pages.notebook(
            source[0], Path(app.srcdir), pages.toctree(Path(app.srcdir)) if name == START else ""
        )
    elif name == "glossary":
        source[0] = pages.glossary(source[0])
    else:
        source[0] = pages.PICTURE.sub(lambda found: pages.picture(found[1]), source[0])


def finish(app, error):
    """The start page answers under the folder's own address as well; the front ends' modules lie beside site.js."""
    if error is None:
        out = Path(app.outdir)
        shutil.copy(out / f"{START}.html", out / "index.html")
        # 1.5 MB that draw nine icons; the font, which comes with it, draws them as well.
        (out / "_static/scripts/fontawesome.js").write_text("")
        for unread in (out / "_static").rglob("*.map"):
            unread.unlink()
        shutil.copytree(pages.FRONT, out / "_static/front", ignore=pages.NO_FRONT, dirs_exist_ok=True)
        (out / "_static/front/palette.css").write_text(palette.css(), encoding="utf-8")
