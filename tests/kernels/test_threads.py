"""How much work is worth a thread."""

import math

import pytest
import torch

from hnlmrec.kernels import threads


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        # nothing gained, or hardly
        (1.0, 1.0, math.inf),
        (1.0, 3.0, math.inf),
        (1.0, 0.9, math.inf),
        # .1 s more than half: a fifth of the work takes that in one part and half of it in two
        (1.0, 0.6, 2 * 0.2 * 1e9),
        # no less than what a thread costs anywhere
        (1.0, 0.5, threads._LEAST),
    ],
)
def test_worth_by_hand(one, two, expected):
    assert threads.worth(1_000_000_000, one, two) == pytest.approx(expected)


def test_the_trial_gives_what_worth_may_give():
    found = threads.worth_a_thread()
    assert found == math.inf or found >= threads._LEAST
    # one trial a process
    assert threads.worth_a_thread() == found


@pytest.mark.parametrize(
    ("work", "worth", "most", "expected"),
    [
        (10_000_000, 1_000_000, 4, 4),
        (2_500_000, 1_000_000, 4, 2),
        (10_000_000, math.inf, 4, 1),
        (10_000_000, 1_000_000, 1, 1),
        (100_000, 1_000_000, 4, 1),
        (0, 1_000_000, 4, 1),
    ],
)
def test_threads_for_work(monkeypatch, work, worth, most, expected):
    monkeypatch.setattr(threads, "worth_a_thread", lambda: worth)
    monkeypatch.setattr(torch, "get_num_threads", lambda: most)
    assert threads.threads_for(work) == expected


def test_little_work_needs_no_trial(monkeypatch):
    def trial():
        raise AssertionError

    monkeypatch.setattr(threads, "worth_a_thread", trial)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert threads.threads_for(threads._LEAST) == 1
