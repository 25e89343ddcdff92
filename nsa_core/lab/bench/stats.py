"""What a list of samples says: its middle, its spread, and whether two lists differ by more than that."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of `count` samples. The quartiles are the spread every table and row reports."""

    median: float
    q1: float
    q3: float
    count: int

    def scaled(self, factor: float) -> "Spread":
        return Spread(self.median * factor, self.q1 * factor, self.q3 * factor, self.count)

    def overlaps(self, low: float, high: float) -> bool:
        """Do the middle half of the samples and the interval low..high share a value?"""
        return self.q1 <= high and low <= self.q3


def spread(samples: Sequence[float]) -> Spread:
    """Median and quartiles, interpolated between sorted samples. A single sample has no spread: q1 == q3."""
    if not samples:
        raise ValueError("samples is empty; a median needs at least 1")
    if len(samples) == 1:
        return Spread(samples[0], samples[0], samples[0], 1)
    q1, median, q3 = statistics.quantiles(samples, n=4, method="inclusive")
    return Spread(median, q1, q3, len(samples))


def spread_columns(name: str, value: Spread | None) -> dict[str, float | int | None]:
    """A spread as columns of a row."""
    if value is None:
        return {name: None}
    return {
        name: rounded(value.median),
        f"{name}_q1": rounded(value.q1),
        f"{name}_q3": rounded(value.q3),
        f"{name}_n": value.count,
    }


def rounded(value: float) -> float:
    return float(f"{value:.4g}")


def ratio(numerator: Spread, denominator: Spread) -> Spread:
    """How many times `denominator` goes into `numerator`; the spread is the widest that both quartiles allow."""
    if denominator.q1 <= 0:
        raise ValueError(f"denominator has a quartile of {denominator.q1}; a ratio needs times above 0")
    return Spread(
        numerator.median / denominator.median,
        numerator.q1 / denominator.q3,
        numerator.q3 / denominator.q1,
        min(numerator.count, denominator.count),
    )


def require_positive(name: str, value: float) -> None:
    """ValueError unless `value` is a finite number above 0."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be a finite number above 0, got {value:g}")


def clearly_below(smaller: Spread, larger: Spread, factor: float = 1.0) -> bool:
    """Is `smaller` at least `factor` times below `larger`, and do the middle halves not touch?"""
    return smaller.median * factor <= larger.median and smaller.q3 < larger.q1
