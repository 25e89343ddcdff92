"""The explorer's front end: plain ES modules and one style sheet, without a build step. README.md has its model."""

import base64
import re
from importlib import resources


def read(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def module(name: str) -> str:
    """A module as one text: those it imports become data URLs, since a notebook's front end has no folder of files."""
    return re.sub(r'(?<=from )"\./([\w.]+)"', lambda found: f'"{_url(found[1])}"', read(name))


def _url(name: str) -> str:
    return "data:text/javascript;base64," + base64.b64encode(module(name).encode()).decode()
