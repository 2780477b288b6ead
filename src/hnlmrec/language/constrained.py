"""Greedy decoding that can only write JSON of a given schema, by llguidance.

At each step llguidance gives the tokens that keep an answer inside the schema; the others get a
score of minus infinity. Nothing is sampled, so the same model and prompts give the same answers.

Measured with SmolLM2-135M, 8 answers together, one core of a CPU without bfloat16 instructions:
32 tokens a second in float32, 14 in (emulated) bfloat16.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hnlmrec.errors import ModelError
from hnlmrec.language.extras import require
from hnlmrec.language.protocol import Answer, Prompt


class ConstrainedGenerator:
    """Writes JSON with a causal transformers model."""

    def __init__(self, network: Any, tokenizer: Any) -> None:
        self._llguidance = require("llguidance")
        self._network = network
        self._tokenizer = tokenizer
        # about a second, so once a model; a model may have more rows than its tokenizer has tokens
        self._constraint = require("llguidance.hf").from_tokenizer(
            tokenizer, n_vocab=network.config.vocab_size
        )

    @torch.inference_mode()
    def answers(
        self, prompts: Sequence[Prompt], schema: dict[str, Any], max_new_tokens: int
    ) -> list[Answer]:
        """Write one answer a prompt; one of ``max_new_tokens`` tokens may be cut short.

        Raises
        ------
        ModelError
            When llguidance cannot enforce the schema.
        """
        # whitespace between tokens is legal JSON, and a small model would fill its answer with it
        options = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
        grammar = self._llguidance.LLMatcher.grammar_from_json_schema(schema, overrides=options)
        matchers = [self._llguidance.LLMatcher(self._constraint, grammar) for _ in prompts]
        if matchers[0].is_error():
            raise ModelError(
                f"this JSON schema cannot be enforced ({matchers[0].get_error()})",
                where=json.dumps(schema),
            )
        inputs = self._tokenizer(
            [lay_out(prompt, self._tokenizer) for prompt in prompts],
            add_special_tokens=False,
            padding=True,
            padding_side="left",
            return_tensors="pt",
        ).to(self._network.device)
        n_prompt = inputs["input_ids"].shape[1]
        output = self._network.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=self._tokenizer.pad_token_id,
            eos_token_id=self._tokenizer.eos_token_id,
            logits_processor=[_SchemaProcessor(matchers, n_prompt)],
        )
        written = output[:, n_prompt:]
        texts = self._tokenizer.batch_decode(written, skip_special_tokens=True)
        ends = written == self._tokenizer.eos_token_id
        whole = ends.any(dim=1)
        n_written = torch.where(whole, ends.int().argmax(dim=1) + 1, written.shape[1])
        n_asked = inputs["attention_mask"].sum(dim=1)
        columns = (texts, n_asked.tolist(), n_written.tolist(), whole.tolist())
        return [Answer(*row) for row in zip(*columns, strict=True)]


def lay_out(prompt: Prompt, tokenizer: Any) -> str:
    """Lay out a chat as the model expects it, or plainly when its tokenizer has no template.

    What would be read as a control token in a message is broken in two: those are the template's.
    """
    added = (token.content for token in tokenizer.added_tokens_decoder.values())
    # some tokenizers add runs of spaces too
    control = [token for token in added if len(token) > 1 and token.strip()]
    messages: list[dict[str, str]] = []
    for message in prompt:
        content = message["content"]
        for token in control:
            content = content.replace(token, f"{token[0]} {token[1:]}")
        messages.append({"role": message["role"], "content": content})
    if tokenizer.chat_template:
        text: str = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
        return text
    return "\n\n".join(message["content"] for message in messages) + "\n\n"


class _SchemaProcessor:
    """A transformers logits processor: one matcher a row of the batch."""

    def __init__(self, matchers: list[Any], n_prompt: int) -> None:
        self._matchers = matchers
        self._n_prompt = n_prompt

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if input_ids.shape[1] > self._n_prompt:
            for matcher, token in zip(self._matchers, input_ids[:, -1].tolist(), strict=True):
                # a stopped row only gets padding
                if not matcher.is_stopped():
                    matcher.consume_token(token)
        bits = np.stack(
            [np.frombuffer(matcher.compute_bitmask(), np.uint8) for matcher in self._matchers]
        )
        allowed = np.unpackbits(bits, axis=1, count=scores.shape[1], bitorder="little")
        mask = torch.from_numpy(allowed).to(scores.device, torch.bool)
        return scores.masked_fill(~mask, float("-inf"))
