"""From the names in a configuration to a device and a precision."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch

from detection.errors import ConfigError

logger = logging.getLogger(__name__)
_X86 = {"x86_64", "AMD64"}
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def resolve_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` is the GPU where there is one.

    Any device that torch can allocate on will do, also one that a plug-in registers.

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
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        message = f"features.device: got {name!r}, but this machine has {count} GPUs; use auto"
        raise ConfigError(message)
    if device.type == "meta" or not _can_allocate(device):
        message = f"features.device: expected a device of this machine, got {name!r}; use auto"
        raise ConfigError(message)
    return device


def _can_allocate(device: torch.device) -> bool:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, NotImplementedError, AssertionError):
        return False
    return True


def is_host(device: torch.device) -> bool:
    """Return whether a device's memory is the host's, which NumPy and compiled loops can read."""
    return device.type == "cpu"


def synchronize(device: torch.device) -> None:
    """Wait until all work queued on a device is done; a no-op on the CPU."""
    named = (device,) if device.type == "cuda" else ()  # of other kinds a machine has one
    _call_module(device, "synchronize", *named)


def seconds_on(device: torch.device, run: Callable[[], object]) -> float:
    """Return the seconds that ``run`` takes on a device, which is idle before and after.

    They are measured by the device's own clock where it has one (CUDA events), so that the time
    the host takes to notice that the device is idle does not count.
    """
    module = None if is_host(device) else torch.get_device_module(device)
    event = getattr(module, "Event", None)
    synchronize(device)
    if event is None:
        start = time.perf_counter()
        run()
        synchronize(device)
        return time.perf_counter() - start
    begin, end = event(enable_timing=True), event(enable_timing=True)
    stream = getattr(module, "current_stream", None)
    streams = (stream(device),) if stream else ()  # that of the device, which may not be the first
    begin.record(*streams)
    run()
    end.record(*streams)
    synchronize(device)
    return float(begin.elapsed_time(end)) / 1e3


def release_cached_memory(device: torch.device) -> None:
    """Release the memory that torch caches on a device."""
    _call_module(device, "empty_cache")


def _call_module(device: torch.device, function: str, *arguments: torch.device) -> None:
    if is_host(device):
        return
    call = getattr(torch.get_device_module(device), function, None)
    if call is not None:
        call(*arguments)


def device_name(device: torch.device) -> str:
    """Return the GPU's name, or the type of another device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that are free on a device; None if unknown."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def storage_for(num_bytes: int, device: torch.device) -> torch.device:
    """Return where to keep ``num_bytes`` that ``device`` reads again and again.

    On the device itself if they take at most half of what is free there, in host memory otherwise:
    readers then move a block at a time.
    """
    free = free_memory(device)
    return device if free is None or 2 * num_bytes <= free else torch.device("cpu")


def use_exact_float32() -> None:
    """Disable TF32: convolutions on NVIDIA GPUs would otherwise round float32 to 10 bits.

    This holds for the whole process; set ``features.dtype`` to bfloat16 for speed.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def has_float64(device: torch.device) -> bool:
    """Return whether a device computes in float64; Apple's GPUs do not."""
    return device.type != "mps"


def random_devices(device: torch.device) -> list[torch.device]:
    """Return the devices with a random generator of their own, for ``torch.random.fork_rng``."""
    return [device] if device.type == "cuda" else []


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype called ``name``; ``auto`` is bfloat16 if the device is fast at it.

    Raises:
        ConfigError: if the name is unknown.
    """
    if name == "auto":
        return torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
    if name not in _DTYPES:
        message = f"features.dtype: expected auto, float32 or bfloat16, got {name!r}"
        raise ConfigError(message)
    if name == "bfloat16" and not has_fast_bfloat16(device):
        logger.warning("features.dtype: bfloat16 is slower than float32 on %s, use auto", device)
    return _DTYPES[name]


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return is_host(device) and has_bfloat16_unit()


def has_bfloat16_unit() -> bool:
    """Return whether the CPU multiplies bfloat16 faster than float32.

    With AMX it does, and with the AVX-512 units of AMD (Zen 4 and later). Those of Intel take two
    instructions for what float32 does in one: 84 G operations a second against 155 on one thread of
    an Emerald Rapids whose AMX is switched off. Other processors imitate it.
    """
    if platform.machine() not in _X86:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    units = processor_units()
    return "amx_bf16" in units or ("avx512_bf16" in units and is_made_by_amd())


def is_made_by_amd() -> bool:
    """Return whether the CPU names AMD as its maker, on Linux and Windows."""
    info = Path("/proc/cpuinfo")
    named = platform.processor()
    if info.is_file():
        named = info.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    return "AuthenticAMD" in named


def sums_bytes_in_32_bits() -> bool:
    """Return whether the CPU accumulates 8-bit products without overflow (VNNI).

    Other x86 processors add pairs of them in 16 bits, where 255 x 127 twice is too much.
    """
    if platform.machine() not in _X86:
        return True
    return not processor_units().isdisjoint({"amx_int8", "avx512_vnni", "avx_vnni"})


def processor_units() -> frozenset[str]:
    """Return the CPU's instruction sets under torch's names."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return frozenset(name for name, there in capabilities.items() if there is True)
