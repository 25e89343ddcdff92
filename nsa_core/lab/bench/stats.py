"""What numbers say together: their middle, how far they spread, and how many times one goes into another."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and how far it spreads: to the quartiles of one run's samples, or over all of several runs.

    count: samples, or runs.
    """

    median: float
    low: float
    high: float
    count: int

    def scaled(self, factor: float) -> "Spread":
        return Spread(self.median * factor, self.low * factor, self.high * factor, self.count)

    @property
    def rest(self) -> "Spread":
        """Of a share, what it leaves of the whole; 0 where the share is more than all."""
        left = [max(1 - share, 0.0) for share in (self.median, self.high, self.low)]
        return Spread(*left, self.count)

    def at_most(self, limit: float) -> "Spread":
        return Spread(min(self.median, limit), min(self.low, limit), min(self.high, limit), self.count)


def spread(samples: Sequence[float]) -> Spread:
    """Median and quartiles, interpolated between sorted samples. A single sample does not spread."""
    if not samples:
        raise ValueError("samples is empty; a median needs at least 1")
    if len(samples) == 1:
        return exactly(samples[0])
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Spread(median, low, high, len(samples))


def exactly(value: float) -> Spread:
    """A number without a spread."""
    return Spread(value, value, value, 1)


def across(runs: Sequence[Spread]) -> Spread:
    """Median and range of several runs' medians; a single run keeps its own spread."""
    if len(runs) == 1:
        return runs[0]
    medians = [run.median for run in runs]
    return Spread(statistics.median(medians), min(medians), max(medians), len(runs))


def spread_columns(name: str, value: Spread | None) -> dict[str, float | int | None]:
    """A run's spread as columns of a row."""
    if value is None:
        return {name: None}
    return {
        name: rounded(value.median),
        f"{name}_q1": rounded(value.low),
        f"{name}_q3": rounded(value.high),
        f"{name}_n": value.count,
    }


def rounded(value: float) -> float:
    return float(f"{value:.4g}")


def ratio(numerator: Spread, denominator: Spread) -> Spread:
    """How many times `denominator` goes into `numerator`; the spread is the widest that both allow."""
    if denominator.low <= 0:
        raise ValueError(f"denominator spreads down to {denominator.low}; a ratio needs times above 0")
    return Spread(
        numerator.median / denominator.median,
        numerator.low / denominator.high,
        numerator.high / denominator.low,
        min(numerator.count, denominator.count),
    )


def require_positive(name: str, value: float) -> None:
    """ValueError unless `value` is a finite number above 0."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be a finite number above 0, got {value:g}")
