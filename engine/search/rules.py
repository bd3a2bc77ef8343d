"""Which rule scores which query, and what it needs of a model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from engine.errors import InvalidQuery

MODALITIES = ("text", "image", "sketch", "model")
PICTURES = frozenset({"image", "sketch"})


@dataclass(frozen=True)
class Rule:
    """A method's name, the modalities it can score, and what it reads: ``mean`` (the index
    suffices), ``covariance``, ``features`` (of samples) or either of these.

    ``k`` is best-k's own parameter.
    """

    name: str
    modalities: frozenset[str]
    needs: str
    k: int = 1


RULES = {
    rule.name: rule
    for rule in (
        Rule("first_moment", frozenset(MODALITIES), "mean"),
        Rule("whitened_first_moment", frozenset(MODALITIES), "mean"),
        Rule("linear_density", PICTURES, "mean"),
        Rule("first_second_moment", frozenset({"text"}) | PICTURES, "covariance"),
        Rule("gaussian_density", PICTURES, "covariance"),
        Rule("blend", PICTURES, "covariance or features"),
        Rule("monte_carlo", frozenset({"text"}) | PICTURES, "features"),
        Rule("best_k", frozenset({"text"}) | PICTURES, "features"),
    )
}
METHODS = ("auto", *RULES, "best_1", "best_10")
DEFAULTS = {
    "text": "first_moment",
    "model": "first_moment",
    "image": "blend",
    "sketch": "blend",
}
"""What the zoo's experiments bear out, see docs/accuracy.md."""
BEST_K = re.compile(r"best_([1-9]\d{0,5})")


def method_to_rule(method: str) -> Rule:
    """The rule of that name; ``best_k`` is ``best_1``, ``best_10`` takes the ten nearest samples.

    Raises:
        InvalidQuery: there is none.
    """
    if method in RULES:
        return RULES[method]
    best = BEST_K.fullmatch(method) if isinstance(method, str) else None
    if best is None:
        raise InvalidQuery(
            f"there is no method {method!r}", hint=f"methods are {', '.join(METHODS)} (best_K for any K)"
        )
    return Rule(method, RULES["best_k"].modalities, "features", int(best[1]))


def rule_for(method: str, modalities: Sequence[str]) -> Rule:
    """The rule that scores a query of these parts.

    ``auto`` is the modality's default for one part, ``first_moment`` for several.

    Raises:
        InvalidQuery: the method is unknown, or cannot score one of the parts.
    """
    if method == "auto":
        return RULES[DEFAULTS[modalities[0]] if len(modalities) == 1 else "first_moment"]
    rule = method_to_rule(method)
    for modality in modalities:
        if modality not in rule.modalities:
            fitting = [name for name, other in RULES.items() if modality in other.modalities]
            raise InvalidQuery(
                f"{method} cannot score a {modality} query",
                hint=f"for {modality}: {', '.join(fitting)}",
            )
    return rule
