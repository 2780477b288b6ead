"""The tables of `peers.py`, as Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from peers_protocol import METRIC_KEYS, Line

TRAINING_NOTE = """\
Seconds are the median of the epochs after the first; *times ours* is the row's time over that of
the first row of the same backbone (above 1: that is faster). Recall@20 is hnlmrec's evaluation of
the exported factors after the same number of epochs, with the learning rate of the table: it shows
how far each has come, not what it can reach. hnlmrec and RecBole: Adam on batches, uniform
un-interacted negatives. implicit and cornac: one pair at a time on all threads at once, pairs drawn
with replacement, an item bias, positives drawn by mistake skipped; implicit's negatives follow
popularity. *lazy*: `training.optimizer: lazy_adam`; *dns16*: the hardest of 16 candidates.
Libraries: what the process held before it read the data."""
EVALUATION_NOTE = """\
Full ranking of all test users without their training and validation items, then recall, MRR, NDCG,
hit rate and precision at 10 and 20, of the same random factors: median of the repeats after one.
*Largest difference* compares the ten metrics with hnlmrec's. RecBole's default batch holds few
users; the others rank 1,024 together."""
SCALE_NOTE = """\
Median of the steps after one, each a batch of a hundredth of the interactions, the epoch
extrapolated from it; with lazy Adam and Adagrad, of epochs after one. The peak counts the whole
process, libraries and data included."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align all columns but the first to the right."""
    rule = [":---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows])


def environment(threads: int) -> str:
    """Say what the measurements ran on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].split(":")[1].strip() if names else cpu
    return f"{cpu}, {os.cpu_count()} cores, {threads} threads, Python {platform.python_version()}."


def training(lines: Sequence[Line]) -> str:
    """Seconds an epoch, quality and memory of each, and the ratio to hnlmrec's same backbone."""
    ours: dict[str, Line] = {}
    for line in _good(lines):
        if line["name"].startswith("hnlmrec"):
            ours.setdefault(_backbone(line), line)
    rows = []
    for line in lines:
        if "error" in line:
            rows.append([line["name"], f"failed: {line['error']}", *[""] * 6])
            continue
        base = ours.get(_backbone(line))
        rows.append(
            [
                f"{line['name']} {line['version']}",
                f"{line['epoch_seconds']:.3f}",
                _ratio(line, base, "epoch_seconds"),
                f"{line['recall@20']:.4f}",
                line["lr"],
                f"{line['peak_mib']:,.0f}",
                _ratio(line, base, "peak_mib"),
                f"{line['libraries_mib']:,.0f}",
            ]
        )
    epochs = {line["epochs"] for line in _good(lines)}
    recall = f"Recall@20 after {', '.join(map(str, epochs))} epochs"
    header = ["", "s/epoch", "times ours", recall, "learning rate"]
    header += ["peak MiB", "times ours", "libraries MiB"]
    return f"{table(header, rows)}\n\n{TRAINING_NOTE}"


def _backbone(line: Line) -> str:
    """The backbone of a model such as ``mf lazy``."""
    name: str = line["model"].split()[0]
    return name


def evaluation(lines: Sequence[Line]) -> str:
    """Users a second of each, and the ratio to hnlmrec."""
    ours = next((line for line in _good(lines) if line["name"].startswith("hnlmrec")), None)
    rows = []
    for line in lines:
        if "error" in line:
            rows.append([line["name"], f"failed: {line['error']}", *[""] * 3])
            continue
        speed = f"{ours['users_per_second'] / line['users_per_second']:.2f}" if ours else ""
        found = line["metrics"]
        far = max(abs(found[key] - ours["metrics"][key]) for key in METRIC_KEYS) if ours else 0
        difference = f"{far:.0e}" if ours else ""
        peak = f"{line['peak_mib']:,.0f}"
        rows.append([line["name"], f"{line['users_per_second']:,.0f}", speed, difference, peak])
    header = ["", "users/s", "times ours (seconds)", "largest difference", "peak MiB"]
    return f"{table(header, rows)}\n\n{EVALUATION_NOTE}"


def scale(lines: Sequence[Line]) -> str:
    """Microseconds an interaction as the data grow."""
    rows = []
    for line in lines:
        size = f"{line['interactions']:,}"
        if "error" in line:
            rows.append([size, line["model"], f"failed: {line['error']}", "", ""])
            continue
        epoch = f"{line['epoch_seconds']:,.1f}"
        peak = f"{line['peak_mib']:,.0f}"
        rows.append([size, line["model"], f"{line['microseconds']:.2f}", epoch, peak])
    header = ["interactions", "model", "µs/interaction", "s/epoch (extrapolated)", "peak MiB"]
    return f"{table(header, rows)}\n\n{SCALE_NOTE}"


def memory(line: Line) -> str:
    """Say what the triad reached."""
    if "error" in line:
        return f"Memory (triad): failed: {line['error']}"
    return f"Memory (triad, {line['cores']} cores): {line['gigabytes_per_second']:.1f} GB/s."


def _good(lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if "error" not in line]


def _ratio(line: Line, base: Line | None, key: str) -> str:
    return f"{line[key] / base[key]:.2f}" if base else ""
