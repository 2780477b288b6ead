"""Wall time and peak memory of a piece of work."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from pathlib import Path

_STATUS = Path("/proc/self/status")


class Meter:
    """Starts when it is made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        with contextlib.suppress(OSError):
            # Linux: "5" resets the process's peak, so that each stage reports its own
            Path("/proc/self/clear_refs").write_text("5")

    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start

    def peak_memory_mib(self) -> float:
        """Peak resident memory in MiB: since the start on Linux, of the process elsewhere."""
        if _STATUS.exists():
            for line in _STATUS.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
        # kilobytes on Linux, bytes on macOS
        scale = 1024**2 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
