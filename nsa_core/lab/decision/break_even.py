"""When does computing once pay, and when would one launch instead of many copies? A model fitted to measurements."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..bench.evidence import STEPS_CASES, Evidence
from ..bench.parts import COPY_ONE


@dataclass(frozen=True)
class BreakEven:
    """Cost of a replay of N steps, microseconds.

    eager(N) = N * (compute + copies * per_copy): every step computes and copies.
    copied(N) = compute + N * copies * per_copy: computed once.
    batched(N) = compute + N * launch: one launch per step instead of its copies.
    rms, worst: relative errors of the fit at its points.
    """

    compute_us: float
    per_copy_us: float
    copies: int
    rms: float = 0.0
    worst: float = 0.0
    points: int = 0

    @property
    def step_us(self) -> float:
        """What the copies of one step cost; a launch that replaces them has to cost less."""
        return self.copies * self.per_copy_us

    def eager(self, steps: int) -> float:
        return steps * (self.compute_us + self.step_us)

    def copied(self, steps: int) -> float:
        return self.compute_us + steps * self.step_us

    def batched(self, steps: int, launch_us: float) -> float:
        return self.compute_us + steps * launch_us

    def speed_up(self, steps: int) -> float:
        return self.eager(steps) / self.copied(steps)

    def copy_share(self, steps: int) -> float:
        return steps * self.step_us / self.copied(steps)

    @property
    def speed_up_limit(self) -> float:
        """What computing once cannot exceed, however many steps."""
        return (self.compute_us + self.step_us) / self.step_us

    @property
    def steps_to_half(self) -> float:
        """Steps from which on the copies take more than half."""
        return self.compute_us / self.step_us


def fit(eager: dict[int, float], copied: dict[int, float], copies: int) -> BreakEven:
    """Least squares over measured totals by number of steps; each residual is relative to its measurement.

    ValueError when the points are too few or too alike to tell computing from copying, or contradict the model.
    """
    points = [(n, n, us) for n, us in eager.items()] + [(1, n, us) for n, us in copied.items()]
    compute, step = _solve([(a / us, b / us) for a, b, us in points])
    if compute <= 0 or step <= 0:
        raise ValueError(
            f"the points give {compute:.4g} us to compute and {step:.4g} us to copy; both must be above 0"
        )
    errors = [(a * compute + b * step) / us - 1 for a, b, us in points]
    rms = (sum(e * e for e in errors) / len(errors)) ** 0.5
    return BreakEven(compute, step / copies, copies, rms, max(map(abs, errors)), len(points))


def _solve(rows: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The x, y that bring every a * x + b * y closest to 1."""
    aa, bb = sum(a * a for a, _ in rows), sum(b * b for _, b in rows)
    ab, a1, b1 = sum(a * b for a, b in rows), sum(a for a, _ in rows), sum(b for _, b in rows)
    determinant = aa * bb - ab * ab
    if determinant <= 1e-9 * aa * bb:
        raise ValueError(
            f"{len(rows)} points do not tell computing from copying apart; measure more numbers of steps"
        )
    return (a1 * bb - b1 * ab) / determinant, (b1 * aa - a1 * ab) / determinant


def measured_break_even(evidence: Evidence) -> BreakEven:
    """The model of a run's decode cases: bs 32, 4096 tokens, 1 to 16 steps."""

    def totals(name: str) -> dict[int, float]:
        return {n: evidence.loop(case, name).median for n, case in STEPS_CASES.items() if evidence.has(case, name)}

    return fit(totals("eager"), totals("copy"), evidence.row("record-4", COPY_ONE, kind="plan")["copies"])
