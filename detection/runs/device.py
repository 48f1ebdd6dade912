"""From the names in a configuration to a device and a precision."""

from __future__ import annotations

import torch

from detection.errors import ConfigError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def resolve_device(name: str) -> torch.device:
    """Give the device called ``name``; ``auto`` is the GPU where there is one.

    Raises:
        ConfigError: if there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        message = f"features.device: expected auto, cpu, cuda, cuda:<number> or mps, got {name!r}"
        raise ConfigError(message) from error
    if device.type not in {"cpu", "cuda", "mps"}:
        message = f"features.device: expected auto, cpu, cuda, cuda:<number> or mps, got {name!r}"
        raise ConfigError(message)
    if device.type == "mps" and not torch.backends.mps.is_available():
        message = f"features.device: expected a device of this machine, got {name!r}; use auto"
        raise ConfigError(message)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        message = f"features.device: got {name!r}, but this machine has {count} GPUs; use auto"
        raise ConfigError(message)
    return device


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """Give the precision called ``name``; ``auto`` is bfloat16 where the device is fast in it.

    Raises:
        ConfigError: if the name is unknown.
    """
    if name == "auto":
        return torch.bfloat16 if _is_fast_in_bfloat16(device) else torch.float32
    if name not in _DTYPES:
        message = f"features.dtype: expected auto, float32 or bfloat16, got {name!r}"
        raise ConfigError(message)
    return _DTYPES[name]


def _is_fast_in_bfloat16(device: torch.device) -> bool:
    """Tell whether a device has units for bfloat16."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("amx_bf16", False) or capabilities.get("avx512_bf16", False))
