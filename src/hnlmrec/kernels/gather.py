"""Rows of packed numbers, read as float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hnlmrec.kernels import threads


def gather(
    table: npt.NDArray[np.float16] | npt.NDArray[np.int8],
    scales: npt.NDArray[np.float32] | None,
    rows: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    out: npt.NDArray[np.float32],
) -> None:
    """Write ``table[rows[b]]`` to ``out[places[b]]``.

    Parameters
    ----------
    table
        Finite float16 ``[n, width]``, or int8 that is to be scaled; a memory map will do.
    scales
        Of each row of an int8 table, ``[n]``; None for float16.
    rows, places
        ``[B]``; places are distinct.
    out
        Float32 ``[>= B, width]``.
    """
    from hnlmrec.kernels import compiled_gather

    # numba does not know memory maps
    numbers: Any = table.view(np.ndarray)
    borders = threads.even(len(rows), threads.threads_for(len(rows) * table.shape[1], waiting=True))
    if scales is None:
        bits = numbers.view(np.uint16)
        threads.run(
            compiled_gather.gather_halves, borders, bits, rows, places, out, out.view(np.uint32)
        )
    else:
        threads.run(
            compiled_gather.gather_bytes, borders, numbers, scales.view(np.ndarray), rows, places,
            out,
        )  # fmt: skip
