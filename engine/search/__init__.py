"""Query → shortlist → re-rank → ranked ids. How anything is printed is not known here."""

from engine.search.plan import Plan, Planner
from engine.search.ranking import Ranking, rank
from engine.search.rules import METHODS, rule_for
from engine.search.transforms import TransformCache
from engine.search.views import IndexView, IndexViews

__all__ = [
    "METHODS",
    "IndexView",
    "IndexViews",
    "Plan",
    "Planner",
    "Ranking",
    "TransformCache",
    "rank",
    "rule_for",
]
