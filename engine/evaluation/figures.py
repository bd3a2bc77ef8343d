"""Numbers as a reader wants them: per cent with one decimal, intervals beside them."""

from __future__ import annotations

import math

from engine.evaluation.bootstrap import Difference, Estimate


def percent(value: float) -> str:
    """``81.4``; a dash where there is no value."""
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


def with_interval(estimate: Estimate) -> str:
    """``81.4 [77.3–85.3]``."""
    if math.isnan(estimate.low):
        return percent(estimate.value)
    return f"{percent(estimate.value)} [{percent(estimate.low)}–{percent(estimate.high)}]"


def in_points(difference: Difference) -> str:
    """``+3.2 [+1.1, +5.0]`` in percentage points."""
    if math.isnan(difference.value):
        return "–"
    value = f"{100 * difference.value:+.1f}"
    if math.isnan(difference.low):
        return value
    return f"{value} [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"


def p_value(p: float) -> str:
    """``0.012``; ``<0.001`` below that."""
    return "–" if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def milliseconds(value: float) -> str:
    """Three figures or so: ``0.13``, ``4.2``, ``1203``."""
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 100 else f"{value:.0f}"
