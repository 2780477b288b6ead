"""A language model on this machine, by transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from hnlmrec.config import LanguageConfig
from hnlmrec.device import pick_device, pick_dtype
from hnlmrec.errors import ModelError
from hnlmrec.language.batching import token_batches
from hnlmrec.language.extras import DATA_ONLY, require
from hnlmrec.language.locate import locate
from hnlmrec.language.protocol import Answer, Prompt


class LocalLanguageModel:
    """A causal language model or a text encoder; see `LanguageModel` for what it does.

    Parameters
    ----------
    network
        The transformers model as loaded: with a language-modelling head when it has one.
    tokenizer
        Its tokenizer, with a padding token.
    batch_tokens, max_tokens
        See `LanguageConfig`.
    """

    def __init__(self, network: Any, tokenizer: Any, *, batch_tokens: int, max_tokens: int) -> None:
        self.network = network
        self.tokenizer = tokenizer
        self.batch_tokens = batch_tokens
        self.max_tokens = max_tokens

    @classmethod
    def load(cls, config: LanguageConfig) -> Self:
        """Load the configured model onto its device, in evaluation mode.

        Raises
        ------
        ModelError
            When the model is absent, damaged or not one.
        """
        transformers = require("transformers")
        transformers.utils.logging.disable_progress_bar()  # stages show their own
        folder = locate(config.model)
        device = pick_device(config.device)
        with _explained(folder):
            settings = transformers.AutoConfig.from_pretrained(folder, **DATA_ONLY)
            kind = transformers.AutoModel
            if any(name.endswith("ForCausalLM") for name in settings.architectures or ()):
                kind = transformers.AutoModelForCausalLM
            network = kind.from_pretrained(
                folder, use_safetensors=True, **DATA_ONLY, **_precision(config.dtype, device)
            )
            tokenizer = _tokenizer(folder)
        return cls(
            network.eval(),
            tokenizer,
            batch_tokens=config.batch_tokens,
            max_tokens=config.max_tokens,
        )

    @staticmethod
    def width_and_tokenizer(config: LanguageConfig) -> tuple[int, Any]:
        """Size of a hidden state, and the tokenizer, without loading the weights.

        Raises
        ------
        ModelError
            When the model is absent, damaged or not one.
        """
        with _explained(folder := locate(config.model)):
            settings = require("transformers").AutoConfig.from_pretrained(folder, **DATA_ONLY)
            return int(settings.hidden_size), _tokenizer(folder)

    @property
    def model(self) -> nn.Module:
        """The network without its language-modelling head: it gives hidden states."""
        base: nn.Module = self.network.base_model
        return base

    @property
    def input_embeddings(self) -> nn.Module:
        """The layer that maps token ids to vectors of size ``width``."""
        embeddings: nn.Module = self.network.get_input_embeddings()
        return embeddings

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.network.device
        return device

    @property
    def writes(self) -> bool:
        """Whether the network has a head that writes text."""
        return bool(self.network.can_generate())

    @property
    def width(self) -> int:
        """Size of a hidden state."""
        return int(self.network.config.hidden_size)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Give the mean of each text's last hidden states, float32 ``[n, width]``, on the CPU.

        A text without tokens gives zeros.
        """
        vectors = torch.zeros(len(texts), self.width)
        if not texts:
            return vectors
        ids = as_tokens(self.tokenizer, texts, self.max_tokens)
        for batch in token_batches([len(row) for row in ids], self.batch_tokens):
            if not ids[batch[0]]:
                continue  # the longest text of the batch is empty
            inputs = self.tokenizer.pad(
                {"input_ids": [ids[row] for row in batch]},
                padding_side="right",
                return_tensors="pt",
            ).to(self.device)
            states = self.model(**inputs).last_hidden_state
            vectors[torch.from_numpy(batch)] = mean_pool(states, inputs["attention_mask"]).cpu()
        return vectors

    def generate_json(
        self,
        prompts: Sequence[Prompt],
        schema: dict[str, Any],
        *,
        max_new_tokens: int,
        batch_size: int,
    ) -> Iterator[tuple[int, Answer]]:
        """Yield the places and answers in order, under the schema and by greedy decoding.

        Raises
        ------
        ModelError
            When the model only encodes, the schema cannot be enforced, or packages are absent.
        """
        if not self.writes:
            raise ModelError(
                "this model encodes texts but cannot write any",
                where="language.model",
                mend="name a causal language model, or set profile.generator to template",
            )
        for start in range(0, len(prompts), batch_size):
            some = prompts[start : start + batch_size]
            yield from enumerate(self._generator.answers(some, schema, max_new_tokens), start)

    @cached_property
    def _generator(self) -> Any:
        from hnlmrec.language.constrained import ConstrainedGenerator

        return ConstrainedGenerator(self.network, self.tokenizer)


def _tokenizer(folder: Path) -> Any:
    tokenizer = require("transformers").AutoTokenizer.from_pretrained(folder, **DATA_ONLY)
    if tokenizer.pad_token is None:
        # padding is masked everywhere, so any token will do
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        reason = str(error)
        if "trust_remote_code" in reason:  # it would tell the user to pass it
            reason = "it has code of its own that would have to be run, which is never done"
        raise ModelError(
            f"transformers cannot load this model ({reason})",
            where=str(folder),
            mend="name another model by language.model",
        ) from None


def as_tokens(tokenizer: Any, texts: Sequence[str], limit: int | None) -> list[list[int]]:
    """Token ids of texts, cut at a limit; words that look like control tokens stay words."""
    rows: list[list[int]] = tokenizer(
        list(texts), truncation=limit is not None, max_length=limit, split_special_tokens=True
    )["input_ids"]
    return rows


def _precision(name: str, device: torch.device) -> dict[str, Any]:
    """How transformers is to hold the weights, and where."""
    if name != "4bit":
        return {"dtype": pick_dtype(name, device), "device_map": {"": device}}
    require("bitsandbytes", extra="quantised")
    dtype = pick_dtype("auto", device)
    packed = require("transformers").BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
    )
    return {"dtype": dtype, "device_map": {"": device}, "quantization_config": packed}


def mean_pool(states: Tensor, mask: Tensor) -> Tensor:
    """Take the mean over the tokens that are not padding.

    Parameters
    ----------
    states
        Hidden states ``[n, tokens, width]``, any float type.
    mask
        1 for a token, 0 for padding, ``[n, tokens]``.

    Returns
    -------
    float32 ``[n, width]``; zeros for a text without tokens.
    """
    weights = mask.unsqueeze(-1).float()
    total = (states.float() * weights).sum(dim=1)
    return total / weights.sum(dim=1).clamp_min(1)
