"""Coverage-guided fuzzing by atheris: ``python tests/faults/fuzz.py csv -runs=20000``.

Without a target, all of them, a process each. Options behind the target are libFuzzer's, as
``-max_total_time=600``; what a crash was made of is left as ``crash-*``. atheris is no dependency
of the project: ``pip install atheris``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["hnlmrec", "yaml"]):
    from fuzz_targets import TARGETS

# MiB of memory, bytes of an input and seconds of one: beyond them an input is reported, too
LIMITS = ("-rss_limit_mb=4096", "-max_len=8192", "-timeout=60")


def main() -> None:
    """Fuzz the target that is named, or each in turn."""
    name, *options = sys.argv[1:] or ["all"]
    if name == "all":
        for each in TARGETS:
            print(f"== {each}", flush=True)
            subprocess.run([sys.executable, __file__, each, *options], check=True)
        return
    warnings.simplefilter("ignore")  # of literals in the files
    with tempfile.TemporaryDirectory() as corpus:
        (Path(corpus) / "right").write_bytes(TARGETS[name].right)
        atheris.Setup([sys.argv[0], *LIMITS, *options, corpus], TARGETS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
