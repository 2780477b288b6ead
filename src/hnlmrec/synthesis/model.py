"""`HardNegativeModel`: h(u, i) by the language model, pairwise or amortized, and its file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from hnlmrec.artifacts import reading
from hnlmrec.config import SynthesisConfig
from hnlmrec.disk import write_atomically
from hnlmrec.errors import ArtifactError
from hnlmrec.language.local import LocalLanguageModel
from hnlmrec.negatives.protocol import EmbeddingView
from hnlmrec.synthesis.head import FusionHead, fuse
from hnlmrec.synthesis.prefix import encode_sharing, shares_prefixes
from hnlmrec.synthesis.query import QueryEncoder
from hnlmrec.synthesis.vectors import VectorTable

Rows = npt.NDArray[np.integer]
Encode = Callable[..., Tensor]
FILE = "adapter.safetensors"
HEAD = "head/"


class HardNegativeModel(nn.Module):
    """The fine-tuned language model that gives the hard-negative vector of a pair.

    ``pairwise`` encodes user and item in one query, whose state, less the mean item state, is
    h(u, i) (the paper's). ``amortized`` encodes users and items apart and fuses their states by
    a head, so that the cost of the language model does not grow with interactions.

    Parameters
    ----------
    config
        Mode and fine-tuning.
    language
        The local model. It is changed: LoRA layers are put into it.
    texts
        Profiles of all users and of all items.
    view
        Embeddings of the pretrained CF model.
    centres
        Mean states of users and of items, float ``[2, width]``.
    seed
        Of the initial soft tokens, LoRA and head.

    Attributes
    ----------
    histories
        States of users that are not read from their profiles; None where they are.
    """

    centres: Tensor

    def __init__(
        self,
        config: SynthesisConfig,
        language: LocalLanguageModel,
        texts: tuple[Sequence[str], Sequence[str]],
        view: EmbeddingView,
        centres: Tensor,
        seed: int,
    ) -> None:
        super().__init__()
        self.config = config
        self.view = view
        generator = torch.Generator().manual_seed(seed)
        dim = view.users.shape[1]
        self.encoder = QueryEncoder(language, config.finetune, dim, generator)
        self.encoder.add_lora(seed)
        self.users = self.encoder.segments("user", texts[0], view.users)
        self.items = self.encoder.segments("item", texts[1], view.items)
        self.register_buffer("centres", centres)
        self.collaborative = config.finetune.collaborative != "none"
        self.histories: VectorTable | None = None
        self.head: FusionHead | None = None
        if config.mode == "amortized":
            with torch.random.fork_rng():
                torch.manual_seed(seed + 1)
                self.head = FusionHead(self.encoder.width, dim if self.collaborative else 0)

    def queries(self, users: Tensor, items: Tensor, encode: Encode | None = None) -> Tensor:
        """h(u, i) through the language model, float32 ``[B, width]``, with gradients.

        In amortized mode each distinct user and item of the batch is encoded once. ``encode`` takes
        the place of ``encoder``.
        """
        encode = encode or self.encoder
        if self.head is None:
            return self._centred(
                encode(self.users.take(users.numpy()), self.items.take(items.numpy()))
            )
        distinct_users, user_rows = users.unique(return_inverse=True)
        distinct_items, item_rows = items.unique(return_inverse=True)
        if self.histories is not None:
            user_states = self.histories.read(distinct_users.numpy())[0]
        else:
            user_states = encode(self.users.take(distinct_users.numpy()))
        item_states = encode(self.items.take(distinct_items.numpy()))
        return self._fuse(user_states[user_rows], item_states[item_rows], users, items)

    def pairwise_states(self, users: Tensor, items: Tensor) -> Tensor:
        """h(u, i) as the state of one query a pair, without gradients, for any number of pairs."""
        own, which = users.unique(return_inverse=True)
        states = encode_sharing(
            self.encoder,
            self.users.take(own.numpy()),
            self.items.take(items.numpy()),
            which.numpy(),
        )
        return self._centred(states)

    def pairwise_tokens(self, users: Rows, items: Rows) -> int:
        """Tokens that the language model reads for pairs, each as a query of its own.

        A user's are read once for all of the user's pairs if the model can share them.

        Parameters
        ----------
        users, items
            Of the pairs, int ``[n_pairs]``.
        """
        of_users, of_items = (self.encoder.count(part) for part in (self.users, self.items))
        by_user = np.bincount(users, minlength=len(of_users))
        by_item = np.bincount(items, minlength=len(of_items))
        times = by_user > 0 if shares_prefixes(self.encoder) else by_user
        return int(of_users @ times + of_items @ by_item)

    def _centred(self, states: Tensor) -> Tensor:
        return states - self.centres[1].to(states.device)

    def fuse(
        self, user_states: VectorTable, item_states: VectorTable, users: Tensor, items: Tensor
    ) -> Tensor:
        """h(u, i), float32 ``[B, width]``, by the amortized head from stored states."""
        return self._fuse(
            user_states.read(users.numpy())[0], item_states.read(items.numpy())[0], users, items
        )

    def _fuse(
        self, user_states: Tensor, item_states: Tensor, users: Tensor, items: Tensor
    ) -> Tensor:
        assert self.head is not None
        states = (user_states.cpu(), item_states.cpu())
        embeddings = (self.view.users[users], self.view.items[items])
        return fuse(self.head, states, embeddings, self.centres, collaborative=self.collaborative)

    def trainable(self) -> nn.ParameterDict:
        """LoRA, soft tokens and head, by name."""
        parameters = self.encoder.trainable()
        if self.head is not None:
            parameters.update(head_tensors(self.head))
        return parameters

    def save(self, folder: Path) -> None:
        """Write what fine-tuning learned, with the pooling and wording it was learned under."""
        write_adapter(folder, self._form(), {"centres": self.centres, **self.trainable()})

    def restore(self, folder: Path) -> None:
        """Read what `save` wrote; an ArtifactError when it is damaged or of another form."""
        form, tensors = read_adapter(folder)
        ours = self._form()
        if form != ours:
            differing = [key for key, value in ours.items() if form.get(key) != value]
            raise ArtifactError(
                "the adapter was fine-tuned otherwise: "
                + ", ".join(
                    f"{key} is {form.get(key)} there, {ours[key]} here" for key in differing
                ),
                where=str(folder / FILE),
                mend="run `hnlmrec finetune` again; a run that it is transferred from needs the "
                "same settings as this one",
            )
        self.centres = tensors.pop("centres")
        self.trainable().load_state_dict(tensors)

    def _form(self) -> dict[str, str | int]:
        finetune = self.config.finetune
        return {
            "mode": self.config.mode,
            "user_states": self.config.user_states,
            "pooling": finetune.pooling,
            "collaborative": finetune.collaborative,
            "max_tokens": self.encoder.language.max_tokens,
            "rank": finetune.rank,
            "width": self.encoder.width,
            "dim": self.view.users.shape[1] if self.collaborative else 0,
        }


def head_tensors(head: FusionHead) -> dict[str, nn.Parameter]:
    """The parameters of a head by the names that they have in the file."""
    return {HEAD + name.replace(".", "/"): value for name, value in head.named_parameters()}


def load_head(tensors: Mapping[str, Tensor], dim: int) -> FusionHead:
    """The head that a file's tensors hold; ``dim`` is the size of a CF embedding, 0 for none."""
    head = FusionHead(tensors["centres"].shape[1], dim)
    head.load_state_dict(
        {
            name.removeprefix(HEAD).replace("/", "."): value
            for name, value in tensors.items()
            if name.startswith(HEAD)
        }
    )
    return head


def write_adapter(
    folder: Path, form: Mapping[str, str | int], tensors: Mapping[str, Tensor]
) -> None:
    """Write tensors, and the form of what learned them, for `read_adapter`."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_atomically(folder / FILE, save(plain, metadata={"form": json.dumps(form)}))


def read_adapter(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The form and the tensors that `HardNegativeModel.save` wrote; an ArtifactError if damaged."""
    with (
        reading("the fine-tuned adapter", folder / FILE, "hnlmrec finetune"),
        safe_open(folder / FILE, framework="pt") as file,
    ):
        form = dict(json.loads(file.metadata()["form"]))
        return form, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
