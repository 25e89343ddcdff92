"""Pictures that move in JupyterLab and stand still everywhere else; one call each (extra `notebooks`)."""

from .gain import gain
from .history import history
from .loop import loop
from .timeline import timeline

__all__ = ["gain", "history", "loop", "timeline"]
