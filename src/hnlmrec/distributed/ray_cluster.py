"""Ray, joined or started for as long as a stage needs it, and ended again."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from hnlmrec.config.engine import EngineConfig
from hnlmrec.errors import ConfigError
from hnlmrec.language.extras import require


@contextmanager
def cluster(engine: EngineConfig) -> Iterator[ModuleType]:
    """Give the module ``ray``, connected to the cluster that the configuration names.

    Without an address it is one on this machine, with as many (logical) CPU cores as the workers
    want. A connection that is there already is used and left.

    Raises
    ------
    ModelError
        When Ray is not installed.
    ConfigError
        When the cluster cannot be reached, or this machine has too few GPUs.
    """
    # it asks at a terminal, or sends by itself, what it is used for
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = require("ray", extra="ray", purpose="engine.name: ray")
    if ray.is_initialized():
        yield ray
        return
    here = engine.address is None
    cores = max(os.cpu_count() or 1, math.ceil(engine.workers * engine.cpus_per_worker))
    try:
        ray.init(
            address="local" if engine.address is None else engine.address,
            num_cpus=cores if here else None,
            include_dashboard=False if here else None,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"there is no Ray cluster that could be joined ({error})",
            where="engine.address",
            mend="start one (`ray start --head`) and give its address, or leave it null for one "
            "on this machine",
        ) from None
    try:
        wanted = engine.workers * engine.gpus_per_worker
        gpus = ray.cluster_resources().get("GPU", 0)
        # a cluster may grow; one machine does not
        if here and wanted > gpus:
            raise ConfigError(
                f"{engine.workers} workers want {wanted:g} GPUs, and there are {gpus:g}",
                where="engine.gpus_per_worker",
                mend="lower it, or engine.workers",
            )
        yield ray
    finally:
        ray.shutdown()
