"""The few operations that training spends its time in.

Each has two forms that agree up to rounding: compiled loops for float32 on a CPU, which touch no
more memory than they must, and torch for everything else. Threads are torch's: what
``torch.set_num_threads`` says holds for both.

numba keeps what it compiled in ``__pycache__`` and notices changes of a file in that file's own
functions only: after a change in ``vectors.py`` or ``compiled.py``, delete the ``*.nb*`` there.
"""

from hnlmrec.kernels.adam import adam_step
from hnlmrec.kernels.batch import BatchGraph, batch_graph
from hnlmrec.kernels.draws import draw_free, interacted_in
from hnlmrec.kernels.epoch import bpr_steps, bpr_triples
from hnlmrec.kernels.gather import gather
from hnlmrec.kernels.pairs import (
    bpr_gradient,
    pair_scores,
    squared_norms,
    table_scores,
)
from hnlmrec.kernels.propagation import Adjacency
from hnlmrec.kernels.selection import top_columns

__all__ = [
    "Adjacency",
    "BatchGraph",
    "adam_step",
    "batch_graph",
    "bpr_gradient",
    "bpr_steps",
    "bpr_triples",
    "draw_free",
    "gather",
    "interacted_in",
    "pair_scores",
    "squared_norms",
    "table_scores",
    "top_columns",
]
