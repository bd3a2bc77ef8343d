"""Query → shortlist → re-rank → ranked ids. How anything is printed is not known here."""

from engine.search.plan import Plan, query_to_plan
from engine.search.ranking import Ranking, rank
from engine.search.rules import METHODS, rule_for
from engine.search.transforms import TransformCache
from engine.search.views import IndexView, IndexViews

__all__ = [
    "METHODS",
    "IndexView",
    "IndexViews",
    "Plan",
    "Ranking",
    "TransformCache",
    "query_to_plan",
    "rank",
    "rule_for",
]
