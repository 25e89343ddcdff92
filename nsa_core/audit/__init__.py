"""Replay-safety audit: finds stale, torn and moved metadata before a graph reads it."""

from .command import add_arguments, main
from .drive import CONTRACTS, audit
from .report import KINDS, AuditReport, Finding

__all__ = ["CONTRACTS", "KINDS", "AuditReport", "Finding", "add_arguments", "audit", "main"]
