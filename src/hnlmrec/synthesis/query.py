"""The query encoder: the one place that turns a query into a state of the language model.

Prompt wording, truncation, soft tokens and pooling live here and nowhere else, so fine-tuning and
synthesis cannot drift apart; `prefix.py` only cuts the pass over a query in two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hnlmrec.config import FinetuneConfig
from hnlmrec.language.batching import token_batches
from hnlmrec.language.local import LocalLanguageModel, as_tokens, mean_pool

Tokens = npt.NDArray[np.int64]
PROMPTS = {"user": "User: {}", "item": "Item: {}"}
# targets of LoRA by architecture: names in Llama-like decoders, then in BERT-like encoders
_LORA_TARGETS = (
    ("q_proj", "k_proj", "v_proj", "o_proj"),
    ("query", "key", "value", "attention.output.dense"),
)


@dataclass(frozen=True, eq=False)
class Segments:
    """One part of many queries: the users' or the items'.

    Parameters
    ----------
    tokens
        Token ids of each query's text.
    embeddings
        CF embeddings of the same users or items, float ``[n, dim]``; None leaves them out.
    """

    tokens: Sequence[Tokens]
    embeddings: Tensor | None

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: npt.NDArray[np.int64]) -> Segments:
        """The segments of some queries, in that order."""
        embeddings = None if self.embeddings is None else self.embeddings[torch.from_numpy(rows)]
        return Segments([self.tokens[row] for row in rows], embeddings)


class QueryEncoder(nn.Module):
    """A language model with LoRA and soft tokens that encodes queries.

    A query is one or two segments (user, item, or user and item); each is a soft token that
    carries the CF embedding, when the signal enters that way, and the tokens of the text.

    Parameters
    ----------
    language
        The local model; LoRA layers are put into it by `add_lora`.
    config
        How the collaborative signal enters, and pooling.
    dim
        Size of a CF embedding.
    generator
        Source of the initial soft-token projection.

    Attributes
    ----------
    tokens_read
        How many tokens it has encoded.
    """

    def __init__(
        self,
        language: LocalLanguageModel,
        config: FinetuneConfig,
        dim: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.language = language
        self.config = config
        self.tokens_read = 0
        self.body: nn.Module = language.model.requires_grad_(False)
        table: Tensor = language.input_embeddings.weight  # type: ignore[assignment]
        self.soft: nn.Linear | None = None
        if config.collaborative == "soft_tokens":
            self.soft = nn.Linear(dim, table.shape[1], bias=False).to(table.device)
            # a unit CF embedding then looks to the model like one of its own tokens
            weight = torch.randn(table.shape[1], dim, generator=generator)
            with torch.no_grad():
                self.soft.weight.copy_(weight * table.float().std().item())

    @property
    def width(self) -> int:
        """Size of a state."""
        return self.language.width

    def add_lora(self, seed: int) -> None:
        """Put fresh LoRA layers on the attention projections; they start as the identity."""
        from peft import LoraConfig, inject_adapter_in_model

        names = [name for name, _ in self.body.named_modules()]
        targets = next(
            group for group in _LORA_TARGETS if any(name.endswith(group[0]) for name in names)
        )
        lora = LoraConfig(
            r=self.config.rank,
            lora_alpha=2 * self.config.rank,
            lora_dropout=self.config.dropout,
            target_modules=list(targets),
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.body = inject_adapter_in_model(lora, self.body)
        for parameter in self.body.parameters():
            if parameter.requires_grad:
                # steps of a small learning rate are lost in half precision
                parameter.data = parameter.data.float()

    def trainable(self) -> nn.ParameterDict:
        """The parameters that fine-tuning changes, by a name that is the same in every run."""
        named = {
            name.replace(".", "/"): parameter
            for name, parameter in self.named_parameters()
            if parameter.requires_grad
        }
        return nn.ParameterDict(named)

    def segments(self, kind: str, texts: Sequence[str], embeddings: Tensor | None) -> Segments:
        """Prepare one part of queries.

        Parameters
        ----------
        kind
            ``user`` or ``item``: which wording.
        texts
            Profiles.
        embeddings
            CF embeddings ``[n, dim]``; None for a bare text, which is how target items are read.
        """
        language = self.language
        tokens = tokens_of(kind, texts, language.tokenizer, language.max_tokens)
        if embeddings is None or self.config.collaborative == "none":
            return Segments(tokens, None)
        unit = F.normalize(embeddings.float(), dim=1)
        if self.config.collaborative == "soft_tokens":
            return Segments(tokens, unit)
        digits = [" [" + " ".join(f"{x:.2f}" for x in row) + "]" for row in unit.tolist()]
        signal = _tokenise(digits, language.tokenizer, None)
        return Segments([np.concatenate(both) for both in zip(tokens, signal, strict=True)], None)

    def forward(self, *parts: Segments, length: int = 0) -> Tensor:
        """Encode a batch of queries of one or two segments: pooled states, float32 ``[B, width]``.

        Gradients reach LoRA and the soft tokens when they are enabled. Queries are padded to the
        longest, and to ``length`` at least.
        """
        embedded, mask = self.embed(*parts, length=length)
        states = self.body(inputs_embeds=embedded, attention_mask=mask.long()).last_hidden_state
        return pool(states.float(), mask, self.config.pooling)

    def embed(self, *parts: Segments, length: int = 0) -> tuple[Tensor, Tensor]:
        """What the model's layers read of a batch of queries, padded on the right.

        Parameters
        ----------
        length
            Least number of tokens that queries are padded to.

        Returns
        -------
        tuple[Tensor, Tensor]
            Input embeddings ``[B, L, width]``, and a mask, bool ``[B, L]``: True on the query.
        """
        device = self.language.device
        soft = 0 if self.soft is None else 1
        uses_soft = [soft and part.embeddings is not None for part in parts]
        rows = []
        for query in zip(*(part.tokens for part in parts), strict=True):
            pieces = []
            for tokens, has_soft in zip(query, uses_soft, strict=True):
                pieces += [np.full(1, -1)] * has_soft + [tokens]
            rows.append(np.concatenate(pieces))
        lengths = torch.tensor([len(row) for row in rows], device=device)
        self.tokens_read += sum(map(len, rows))
        ids = torch.full((len(rows), max(int(lengths.max()), length)), 0)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.from_numpy(row)
        ids = ids.to(device)
        embedded = self.language.input_embeddings(ids.clamp(min=0))
        for order, embeddings in enumerate(self._soft_tokens(parts)):
            # the order-th placeholder of each row
            place = (ids == -1) & ((ids == -1).cumsum(dim=1) == order + 1)
            embedded = embedded.masked_scatter(place.unsqueeze(2), embeddings.to(embedded.dtype))
        mask = torch.arange(ids.shape[1], device=device)[None] < lengths[:, None]
        return embedded, mask

    def count(self, segments: Segments) -> npt.NDArray[np.int64]:
        """How many tokens each segment is to the model, soft ones included, int64 ``[n]``."""
        soft = int(self.soft is not None and segments.embeddings is not None)
        return np.array([len(tokens) + soft for tokens in segments.tokens], dtype=np.int64)

    # not inference_mode: weights that FSDP gathers in it cannot be gathered for training again
    @torch.no_grad()
    def encode(self, *parts: Segments) -> Tensor:
        """Encode any number of queries in batches of a token budget, in evaluation mode."""
        was_training = self.training
        self.eval()
        lengths = np.sum([self.count(part) for part in parts], axis=0)
        states = torch.empty(len(parts[0]), self.width)
        for rows in token_batches(lengths, self.language.batch_tokens):
            states[torch.from_numpy(rows)] = self(*(part.take(rows) for part in parts)).cpu()
        self.train(was_training)
        return states

    def _soft_tokens(self, parts: Sequence[Segments]) -> list[Tensor]:
        if self.soft is None:
            return []
        given = [part.embeddings for part in parts if part.embeddings is not None]
        return [self.soft(embeddings.to(self.soft.weight.device)) for embeddings in given]


def tokens_of(kind: str, texts: Sequence[str], tokenizer: Any, limit: int) -> list[Tokens]:
    """Token ids of texts in the wording of ``kind``, ``user`` or ``item``, cut at a limit."""
    return _tokenise([PROMPTS[kind].format(text) for text in texts], tokenizer, limit)


def _tokenise(texts: Sequence[str], tokenizer: Any, limit: int | None) -> list[Tokens]:
    if not texts:
        return []
    encoded = as_tokens(tokenizer, texts, limit)
    return [np.asarray(ids or [0], dtype=np.int64) for ids in encoded]


def pool(states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """One vector a row from hidden states ``[B, L, width]``: their mean, or the last of the text.

    Parameters
    ----------
    mask
        bool ``[B, L]``, True on the text; texts are padded on the right.
    pooling
        ``mean`` or ``last``.
    """
    if pooling == "last":
        last = mask.sum(dim=1) - 1
        return states[torch.arange(len(states), device=states.device), last]
    return mean_pool(states, mask)
