"""Judged queries → encoded once → ranked by every method, as search ranks → measures with intervals → a report."""

from engine.evaluation.assemble import EvaluationOptions, Subject, queries_to_report
from engine.evaluation.queries import QUERY_KEYS, JudgedQuery, read_queries
from engine.evaluation.report import Report

__all__ = [
    "QUERY_KEYS",
    "EvaluationOptions",
    "JudgedQuery",
    "Report",
    "Subject",
    "queries_to_report",
    "read_queries",
]
