"""Several processes for one run: torch.distributed for training, Ray where it is asked for.

Only `hnlmrec.distributed.ray_*` imports ray, and only when the engine is Ray.
"""

from hnlmrec.distributed.world import ALONE, World, current, joined, started

__all__ = ["ALONE", "World", "current", "joined", "started"]
