"""The section on where a run is computed; it changes nothing of what comes out."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hnlmrec.config.section import Section


class EngineConfig(Section):
    """Which processes compute a run. Under torchrun there are as many as it starts."""

    name: Literal["local", "ray"] = Field(
        "local",
        description="local: this process, or those that torchrun started; ray: a Ray cluster",
    )
    parallel: Literal["data", "columns"] = Field(
        "data",
        description="how several processes train a CF model: data: each has all embeddings and a "
        "part of each batch; columns: each has all pairs and some columns of the embeddings, which "
        "may then exceed one device (mf and lightgcn with inner products, without texts)",
    )
    address: str | None = Field(
        None,
        description="of the Ray cluster, as in ray://HOST:10001 or auto; null: one on this machine",
    )
    workers: int = Field(2, ge=1, description="processes that Ray starts for a stage")
    cpus_per_worker: float = Field(1, gt=0, description="CPU cores that Ray keeps for each")
    gpus_per_worker: float = Field(0, ge=0, description="GPUs that Ray keeps for each")
    max_failures: int = Field(
        3, ge=0, description="how often Ray starts the workers of a stage anew when one is lost"
    )
