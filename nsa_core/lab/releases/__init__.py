"""Releases of SGLang under this package's audit and clock: fetched as public wheels, driven without their engine.

Nothing of the engine is imported, fetched or needed unless a release is asked for; no line of it is part of this
package. A release's own files run; every other module of the engine they name is a stand-in that computes nothing.
"""

from .engine import Engine, engine_of
from .fetch import NotFetched, cache_folder, fetch
from .standins import Loaded, StandInUsed, load, missing_packages
from .table import RELEASES, Release, release_named

__all__ = [
    "RELEASES",
    "Engine",
    "Loaded",
    "NotFetched",
    "Release",
    "StandInUsed",
    "cache_folder",
    "engine_of",
    "fetch",
    "load",
    "missing_packages",
    "release_named",
]
