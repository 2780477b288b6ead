"""Choice of a torch device and of its precision."""

from __future__ import annotations

import torch

from hnlmrec.errors import ConfigError


def pick_device(name: str, *, sparse: bool = False) -> torch.device:
    """The device of that name; ``auto`` takes CUDA, then MPS, then the CPU.

    ``sparse`` leaves MPS out of ``auto``: it has no sparse CSR, which propagation needs.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        mps = torch.backends.mps.is_available() and not sparse
        return torch.device("mps" if mps else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"there is no device {name!r} on this machine ({reason})", mend="use auto or cpu"
        ) from None
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The precision of that name; ``auto`` takes bfloat16 where the device computes in it.

    A CPU without such instructions emulates bfloat16, about seven times slower than float32.
    """
    if name != "auto":
        return {"bfloat16": torch.bfloat16, "float32": torch.float32}[name]
    if device.type == "cpu":
        # torch before 2.13 cannot tell: then float32
        capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        fast = any(capabilities.get(key) for key in ("avx512_bf16", "amx_bf16", "arm_bf16"))
        return torch.bfloat16 if fast else torch.float32
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return torch.float32
    return torch.bfloat16
