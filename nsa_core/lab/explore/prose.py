"""Sentences whose numbers are computed.

A markdown cell keeps in its metadata, under "prose", the text with an expression in braces for every figure that a
recording or the package yields: `{us(4, 'copy'):,.0f} us`. Its source is what that renders to. `make notebooks`
renders again; a test compares, so a digit changed on either side is seen. A page in Markdown keeps its templates in
comments, each before what it renders to.
"""

import re
from collections.abc import Mapping
from string import Formatter

from .said import FACTS

METADATA = "prose"
TOLD = re.compile(r"<!-- prose\n(.*?)\n-->\n.*?\n<!-- /prose -->", re.S)


def render(template: str, names: Mapping[str, object] = FACTS) -> str:
    """The text with every expression evaluated and formatted. An expression holds no colon outside brackets."""
    pieces = Formatter().parse(template)
    return "".join(
        text if expression is None else text + format(eval(expression, dict(names)), spec)
        for text, expression, spec, _ in pieces
    )


def render_page(page: str, names: Mapping[str, object] = FACTS) -> str:
    """A page whose passages between `<!-- prose TEMPLATE -->` and `<!-- /prose -->` are rendered again."""
    return TOLD.sub(lambda told: f"<!-- prose\n{told[1]}\n-->\n{render(told[1], names)}\n<!-- /prose -->", page)
