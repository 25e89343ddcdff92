"""See what a replay does: observe captured sets, draw them, move them with widgets (extra `notebooks`).

`setup` and `observe` need torch only, `draw` needs matplotlib, `widgets` needs ipywidgets; import what you use.
"""

from .command import add_arguments, main

__all__ = ["add_arguments", "main"]
