"""The explorer's front end: plain ES modules and one style sheet, without a build step. README.md has its model."""

import base64
import re
from importlib import resources


def read(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def module(name: str) -> str:
    """A module as one text: what it imports becomes data URLs, as a notebook's front end has no files."""
    return re.sub(r'from "\./([\w.]+)"', lambda found: f'from "{_url(found[1])}"', read(name))


def _url(name: str) -> str:
    return "data:text/javascript;base64," + base64.b64encode(module(name).encode()).decode()
