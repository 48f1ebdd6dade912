"""From the names in a configuration to a device and a precision."""

from __future__ import annotations

import logging
import platform

import torch

from detection.errors import ConfigError

logger = logging.getLogger(__name__)
_X86 = {"x86_64", "AMD64"}
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
    if name == "bfloat16" and not _is_fast_in_bfloat16(device):
        logger.warning("features.dtype: %s imitates bfloat16 here, auto is faster", device)
    return _DTYPES[name]


def _is_fast_in_bfloat16(device: torch.device) -> bool:
    """Tell whether a device has units for bfloat16."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and has_bfloat16_unit()


def has_bfloat16_unit() -> bool:
    """Tell whether the processor multiplies bfloat16 itself; others imitate it, which is slower."""
    if platform.machine() not in _X86:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return not processor_units().isdisjoint({"amx_bf16", "avx512_bf16"})


def sums_bytes_in_32_bits() -> bool:
    """Tell whether products of 8-bit numbers are added without loss (VNNI).

    Other x86 processors add pairs of them in 16 bits, where 255 x 127 twice is too much.
    """
    if platform.machine() not in _X86:
        return True
    return not processor_units().isdisjoint({"amx_int8", "avx512_vnni", "avx_vnni"})


def processor_units() -> frozenset[str]:
    """Give the instruction sets that the processor has, by torch's names."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return frozenset(name for name, there in capabilities.items() if there is True)
