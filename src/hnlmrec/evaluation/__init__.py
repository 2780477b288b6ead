"""Evaluation: full ranking, metrics a user, significance and diagnostics of negatives."""

from hnlmrec.evaluation.evaluate import Evaluation, evaluate, recall_at
from hnlmrec.evaluation.false_negatives import FhnsRate, fhns_rate, nearest_uninteracted
from hnlmrec.evaluation.ranking import rank, top_items
from hnlmrec.evaluation.significance import compare

__all__ = [
    "Evaluation",
    "FhnsRate",
    "compare",
    "evaluate",
    "fhns_rate",
    "nearest_uninteracted",
    "rank",
    "recall_at",
    "top_items",
]
