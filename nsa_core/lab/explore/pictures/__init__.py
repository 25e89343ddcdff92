"""Pictures that move in JupyterLab and stand still everywhere else; one call each (extra `notebooks`)."""

from .cheapest_way import strategy_map
from .claims_table import compared, ledger
from .copy_forms import forms
from .decoding_round import loop
from .gain_over_steps import gain
from .replay_timeline import timeline
from .since_december import history
from .since_releases import audited, releases
from .tables import table
from .when_copies_pay import calculator

__all__ = [
    "audited",
    "calculator",
    "compared",
    "forms",
    "gain",
    "history",
    "ledger",
    "loop",
    "releases",
    "strategy_map",
    "table",
    "timeline",
]
