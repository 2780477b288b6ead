import subprocess
import sys

import pytest
import torch

from hnlmrec.process import keep_freed_memory, set_up_process


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc is told")
def test_freed_memory_stays_with_the_process():
    # in a process of its own: what malloc was told cannot be taken back
    code = """
import psutil, torch
from hnlmrec.process import keep_freed_memory
{}
before = psutil.Process().memory_info().rss
torch.ones(2**24)
print((psutil.Process().memory_info().rss - before) >> 20)
"""
    kept, given_back = (
        int(subprocess.check_output([sys.executable, "-c", code.format(call)], text=True))
        for call in ("keep_freed_memory()", "")
    )
    assert kept >= 60  # of 64 MiB
    assert given_back <= 8


def test_threads_are_as_told_and_0_leaves_them():
    before = torch.get_num_threads()
    try:
        set_up_process(before + 1)
        assert torch.get_num_threads() == before + 1
        set_up_process(0)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
    keep_freed_memory()
