"""See what a replay does: observe captured sets, make scenes of them, show these in a browser (extra `notebooks`).

`observe` sees, `scene` tells as plain data, `session` answers a reader's wishes: these need torch only. `picture`
needs Pillow, `widget` anywidget; import what you use. `front/` is the browser's part.
"""

from .command import add_arguments, main

__all__ = ["add_arguments", "main"]
