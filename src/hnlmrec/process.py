"""What this process is given: threads, and memory that it keeps."""

from __future__ import annotations

import ctypes
import sys

# of glibc's malloc.h; what lies above such thresholds goes back to the system when it is freed
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST = 2**30


def set_up_process(threads: int) -> None:
    """Give torch and the compiled loops ``threads`` threads (0: one for each core)."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Let glibc keep what is freed for the next allocation, for as long as the process runs.

    A training step frees and takes tables of some megabytes a dozen times. By default each goes
    back to the system and comes anew, page by page, which can take most of the step. Elsewhere
    than on Linux with glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST)
        mallopt(_M_TRIM_THRESHOLD, _LARGEST)
