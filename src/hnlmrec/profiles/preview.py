"""See what is asked and what a model answers, before all profiles are paid for."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator

import numpy as np

from hnlmrec.config import ProfileConfig, ServerConfig
from hnlmrec.language.writer import Writer
from hnlmrec.profiles.asking import ask, estimate, profile_form
from hnlmrec.profiles.generate import ProfileData

_WIDTH = 96


def preview(
    data: ProfileData,
    config: ProfileConfig,
    seed: int,
    writer: Writer,
    prices: ServerConfig,
    sample: int,
) -> Iterator[str]:
    """Ask for the profiles of a few users and items; yield the lines to print.

    Nothing is written but the answers into the writer's cache, so the run does not pay for them
    again.

    Parameters
    ----------
    data
        What profiles are written from.
    config, prices
        Limits; what tokens cost.
    seed
        Of the sample.
    writer
        Whom to ask.
    sample
        Users, and items, to ask about.
    """
    rng = np.random.default_rng(seed)
    users, items = (
        np.sort(rng.choice(n, min(sample, n), replace=False)) for n in (data.n_users, data.n_items)
    )
    requests = data.requests(users, items)
    start = time.perf_counter()
    form = profile_form(config)
    written = ask(requests, form, config, writer)
    seconds = time.perf_counter() - start
    seen: set[str] = set()
    for name, request in requests.items():
        kind = "user" if name < data.n_users else "item"
        yield f"== {kind} {name if kind == 'user' else name - data.n_users}"
        # instruction and example are the same for all of a kind
        for message in request.prompt[:-1] if kind not in seen else ():
            yield from _indented(f"[{message['role']}] {message['content']}")
        seen.add(kind)
        yield from _indented(f"[user] {request.prompt[-1]['content']}")
        if name in written.answers:
            profile = written.answers[name]
            yield from _indented(f"-> {profile.summarization} ({profile.reasoning})")
        else:
            yield from _indented(f"-> rejected: {written.reasons[name]}")
    usage = writer.usage
    yield (
        f"{len(written.answers)} of {len(requests)} accepted; {usage.asked} answers asked for in "
        f"{seconds:.1f} s ({usage.prompt_tokens:,} tokens of prompts, {usage.answer_tokens:,} of "
        f"answers), {usage.cached} from the cache"
    )
    everything = data.requests(np.arange(data.n_users), np.arange(data.n_items))
    yield f"all of them: {estimate(everything, form, config, writer, prices)}"


def _indented(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="   ", subsequent_indent="   ")
