"""`TrainedModel`: the embeddings of the best epoch, as written to disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from safetensors.torch import load_file, save
from torch import Tensor

from hnlmrec.artifacts import reading
from hnlmrec.disk import write_atomically
from hnlmrec.negatives.protocol import EmbeddingView

FILE = "model.safetensors"


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """What scores users and items, and the parameters that made it.

    Parameters
    ----------
    view
        Propagated embeddings of the best epoch.
    state
        Parameters of the learner at that epoch, by name.
    """

    view: EmbeddingView
    state: dict[str, Tensor]

    def save(self, folder: Path) -> None:
        """Write ``model.safetensors``."""
        tensors = {"users": self.view.users, "items": self.view.items}
        tensors |= {f"state.{name}": value for name, value in self.state.items()}
        # a copy of each: safetensors refuses tensors that share memory
        plain = {name: value.detach().cpu().clone() for name, value in tensors.items()}
        write_atomically(folder / FILE, save(plain))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        with reading("the trained model", folder / FILE, "hnlmrec train"):
            tensors = load_file(folder / FILE)
            view = EmbeddingView(tensors.pop("users"), tensors.pop("items"))
        return cls(view, {name.removeprefix("state."): value for name, value in tensors.items()})
