"""Use of a trained model: what to recommend to whom."""

from hnlmrec.recommending.choose import allowed_items, known_users
from hnlmrec.recommending.recommend import Recommender

__all__ = ["Recommender", "allowed_items", "known_users"]
