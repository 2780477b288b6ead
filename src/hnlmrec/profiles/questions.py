"""`Questions`: all that a stage asks the language model, before anybody is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hnlmrec.profiles.asking import Form
from hnlmrec.profiles.prompts import Request


@dataclass(frozen=True, eq=False)
class Questions:
    """Requests, what answers must be, and whom they are about.

    Parameters
    ----------
    requests
        By some number.
    form
        What answers must be.
    owners
        The user or item that each is about, in the order of the requests, int64 ``[n]``: a user's
        index, or an item's after all users.
    limit
        Share of requests that may end without an answer.
    """

    requests: dict[int, Request]
    form: Form[Any]
    owners: npt.NDArray[np.int64]
    limit: float
