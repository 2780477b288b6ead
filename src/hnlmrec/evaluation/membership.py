"""Whether pairs of a user and an item are in a sparse matrix."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp


def contains(
    matrix: sp.csr_array, users: npt.NDArray[np.integer], items: npt.NDArray[np.integer]
) -> npt.NDArray[np.bool_]:
    """Look up pairs by binary search, without a dense matrix.

    Parameters
    ----------
    matrix
        CSR ``[n_users, n_items]`` with sorted indices.
    users, items
        Indices of any shapes that broadcast; an item below 0 is in no matrix.

    Returns
    -------
    ndarray
        Bool, of the broadcast shape.
    """
    n_users, n_items = matrix.shape
    rows = np.repeat(np.arange(n_users, dtype=np.int64), np.diff(matrix.indptr))
    keys = rows * n_items + matrix.indices
    wanted = np.asarray(users, dtype=np.int64) * n_items + items
    place = np.searchsorted(keys, wanted)
    # one key more, equal to nothing, for what lies behind the last pair
    found = np.append(keys, -1)[place] == wanted
    return np.asarray(found & (np.asarray(items) >= 0))
