"""Sentences whose numbers are computed.

A markdown cell keeps in its metadata, under "prose", the text with an expression in braces for every figure that a
recording or the package yields: `{us(4, 'copy'):,.0f} us`. Its source is what that renders to. `make notebooks`
renders again; a test compares, so a digit changed on either side is seen.
"""

from collections.abc import Mapping
from string import Formatter

from .said import FACTS

METADATA = "prose"


def render(template: str, names: Mapping[str, object] = FACTS) -> str:
    """The text with every expression evaluated and formatted. An expression holds no colon outside brackets."""
    pieces = Formatter().parse(template)
    return "".join(
        text if expression is None else text + format(eval(expression, dict(names)), spec)
        for text, expression, spec, _ in pieces
    )
