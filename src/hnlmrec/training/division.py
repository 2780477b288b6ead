"""How several processes divide the training of a model: by the pairs of a batch, or by columns.

What is trained is what one process trains, up to rounding: the same parameters at the start, the
same order of pairs, the same random numbers, and a loss that is that of the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hnlmrec.backbones import Backbone, build_backbone
from hnlmrec.config import BackboneConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.distributed import ALONE, World
from hnlmrec.distributed.columns import initial_columns, whole_on_first
from hnlmrec.errors import ConfigError
from hnlmrec.negatives import EmbeddingView, PairBatch

# their map from the table to what scores works on each column by itself
_BY_COLUMN = ("mf", "lightgcn")
_LEAST_PAIRS = 2  # a part of one pair could not be told from what a whole batch shares


@dataclass(frozen=True)
class Division:
    """What this process does of a model's training.

    Parameters
    ----------
    world
        The processes.
    by
        ``data``: each has all parameters and some pairs of each batch; ``columns``: each has some
        columns of the table, and its optimiser's state, and all pairs.
    table
        Rows and columns of the whole table of embeddings.
    """

    world: World = ALONE
    by: Literal["data", "columns"] = "data"
    table: tuple[int, int] = (0, 0)

    @property
    def has_columns(self) -> bool:
        """Whether the table is divided."""
        return self.world.size > 1 and self.by == "columns"

    @property
    def columns(self) -> slice:
        """The columns of the table that are this process's."""
        return self.world.share(self.table[1]) if self.has_columns else slice(0, self.table[1])

    @property
    def over_columns(self) -> World:
        """The processes over which scores are summed."""
        return self.world if self.has_columns else ALONE

    # what each process does of a batch

    def part(self, batch: PairBatch) -> PairBatch:
        """The pairs of a batch that are this process's: all, where there are too few to divide."""
        few = len(batch.users) < _LEAST_PAIRS * self.world.size
        if self.world.size == 1 or self.has_columns or few:
            return batch
        return batch.part(self.world.share(len(batch.users)))

    def weight(self, batch: PairBatch) -> float:
        """Of a mean over the pairs of `part`, so that the sum over processes is that of all."""
        if batch.whole is None:
            return self.even
        return len(batch.users) / len(batch.whole.users)

    @property
    def even(self) -> float:
        """Weight of what every process computes, so that the sum over processes is that once."""
        return 1 / self.world.size

    def gather_pairs(
        self, part: PairBatch, loss: Tensor, columns: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Put together what the processes made of their pairs, in one exchange.

        Parameters
        ----------
        part
            The pairs of this process.
        loss
            Its part of the loss, a scalar.
        columns, weights
            Items int64 ``[b, K]``, and the gradient in their scores, float ``[b, K]``.

        Returns
        -------
        tuple[Tensor, Tensor, Tensor]
            The same of the whole batch.
        """
        n, k = len(part.every.users), columns.shape[1]
        # 53 bits hold any item; others' places are 0, so that the sum is all of them side by side
        sent = torch.zeros(2 * n * k + 1, dtype=torch.float64, device=loss.device)
        items, slopes = (half.view(n, k) for half in sent[:-1].split(n * k))
        part.own(items).copy_(columns)
        part.own(slopes).copy_(weights)
        sent[-1] = loss
        self.world.sum(sent)
        return sent[-1].to(loss.dtype), items.long(), slopes.to(weights.dtype)

    def sum_gradients(
        self, parameters: Iterable[nn.Parameter], parts: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Replace gradients by their sums over processes, and give the sums of a loss's parts.

        All of it is one buffer and one exchange. `DistributedDataParallel` would average the
        gradients of ``forward`` and exchange some while others are being made; here the parts have
        weights of their own, most of the numbers are one table whose gradient is ready last, so
        that nothing is left to do meanwhile, and a step need not be autograd's at all.
        """
        if self.world.size == 1:
            return parts
        trained = [one for one in parameters if one.requires_grad]
        device = trained[0].device
        gradients = [
            torch.zeros_like(one) if one.grad is None else one.grad.contiguous() for one in trained
        ]
        # what no process has a gradient of is to have none, as Adam would move it by its moments
        there = torch.tensor([float(one.grad is not None) for one in trained], device=device)
        values = torch.stack([parts[name].float() for name in sorted(parts)])
        pieces = [*(gradient.flatten() for gradient in gradients), there, values]
        sums = self.world.sum(torch.cat(pieces)).split([len(piece) for piece in pieces])
        for one, total, present in zip(trained, sums, sums[-2].tolist(), strict=False):
            one.grad = total.view_as(one) if present > 0 else None
        return dict(zip(sorted(parts), sums[-1].unbind(), strict=True))

    def agree(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Give all processes the first one's state: they may differ in the last bits.

        Processors of different make round differently, and GPUs from one time to the next.
        """
        if self.world.size == 1 or self.has_columns:
            return
        from torch import distributed

        states = optimizer.state_dict()["state"].values()
        of_optimizer = [value for state in states for value in state.values()]
        for tensor in [*module.state_dict().values(), *of_optimizer]:
            distributed.broadcast(tensor, src=0)

    # the table, where each process has columns of it

    def build_backbone(
        self,
        config: BackboneConfig,
        interactions: Interactions,
        generator: torch.Generator,
        device: torch.device,
        item_vectors: Tensor | None,
    ) -> Backbone:
        """The backbone, or this process's columns of it; see `hnlmrec.backbones.build_backbone`."""
        train = interactions.train
        if not self.has_columns:
            return build_backbone(config, train, generator, device, item_vectors)
        if config.name not in _BY_COLUMN:
            raise _no_columns(f"backbone {config.name}")
        if config.dim < self.world.size:
            raise ConfigError(
                f"{self.world.size} processes cannot share {config.dim} columns out",
                where="engine.parallel",
                mend="start at most as many processes as backbone.dim, or set it to data",
            )
        columns, before = self.columns, generator.get_state()
        narrow = config.model_copy(update={"dim": columns.stop - columns.start})
        backbone = build_backbone(narrow, train, generator, device)
        generator.set_state(before)
        values = initial_columns(self.table, columns, backbone.init_std, generator)
        with torch.no_grad():
            backbone.table.copy_(values)
        return backbone

    def check(self, steps_directly: bool) -> None:
        """Raise a ConfigError when a model needs more than sums over columns."""
        if self.has_columns and not steps_directly:
            raise _no_columns("this model")

    def is_divided(self, tensor: Tensor) -> bool:
        """Whether a tensor is this process's columns of the table, or of what is kept beside it."""
        own = self.columns
        return self.has_columns and tensor.shape == (self.table[0], own.stop - own.start)

    def gathered(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tensors on the CPU, those that are divided whole: in the first process alone."""
        return {
            name: whole_on_first(value.detach(), self.table[1], self.world)
            if self.is_divided(value)
            else value.detach().cpu()
            for name, value in tensors.items()
        }

    def read(self, file: Any, name: str) -> Tensor:
        """A tensor of an open safetensors file, or of a table this process's columns."""
        whole = file.get_slice(name)
        if self.has_columns and tuple(whole.get_shape()) == self.table:
            found: Tensor = whole[:, self.columns].contiguous()
        else:
            found = file.get_tensor(name)
        return found

    def gathered_view(self, view: EmbeddingView) -> EmbeddingView:
        """What scores, all columns of it: in the first process alone."""
        if not self.has_columns:
            return view
        users, items = (
            whole_on_first(part, self.table[1], self.world) for part in (view.users, view.items)
        )
        return EmbeddingView(users, items)


UNDIVIDED = Division()


def _no_columns(what: str) -> ConfigError:
    return ConfigError(
        f"{what} cannot be trained by columns: scores must be inner products of mf or lightgcn, "
        "the sampler one of items (uniform, popularity, dns, srns, ahns), and nothing of texts",
        where="engine.parallel",
        mend="set it to data",
    )
