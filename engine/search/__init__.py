"""Query → shortlist → re-rank → ranked ids. How anything is printed is not known here."""

from engine.search.evidence import Evidence
from engine.search.on_card import Card
from engine.search.plan import Plan, query_to_plan
from engine.search.ranking import Ranking, rank
from engine.search.rules import METHODS, rule_for
from engine.search.stores import Files
from engine.search.transforms import Maps
from engine.search.views import IndexView, IndexViews

__all__ = [
    "METHODS",
    "Card",
    "Evidence",
    "Files",
    "IndexView",
    "IndexViews",
    "Maps",
    "Plan",
    "Ranking",
    "query_to_plan",
    "rank",
    "rule_for",
]
