from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from detection.errors import ConfigError
from detection.io import device
from detection.io.device import resolve_device, resolve_dtype, seconds_on


def test_auto_is_the_gpu_where_there_is_one() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert resolve_device("auto").type == expected
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "cpu:x", "", "meta"])
def test_a_device_that_is_not_there_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^features.device: .*"):
        resolve_device(name)


def test_dtypes_by_name() -> None:
    cpu = torch.device("cpu")
    assert resolve_dtype("float32", cpu) == torch.float32
    assert resolve_dtype("bfloat16", cpu) == torch.bfloat16
    assert resolve_dtype("auto", cpu) in {torch.float32, torch.bfloat16}
    with pytest.raises(ConfigError, match=r"features.dtype: .* got 'int8'"):
        resolve_dtype("int8", cpu)


@pytest.mark.parametrize(
    ("units", "amd", "slow"),
    [
        ({}, True, True),
        ({"avx512_bf16": True}, True, False),
        ({"avx512_bf16": True}, False, True),  # Intel's take longer for it than for float32
        ({"avx512_bf16": True, "amx_bf16": True}, False, False),
    ],
)
def test_bfloat16_that_a_processor_is_slow_at_is_said_to_be(
    units: dict[str, bool],
    amd: bool,
    slow: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(device.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(device, "is_made_by_amd", lambda: amd)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units)
    cpu = torch.device("cpu")
    assert resolve_dtype("bfloat16", cpu) == torch.bfloat16
    assert ("bfloat16 is slower than float32 on cpu" in caplog.text) == slow
    assert resolve_dtype("auto", cpu) == (torch.float32 if slow else torch.bfloat16)


@pytest.mark.parametrize("maker", ["AuthenticAMD", "GenuineIntel"])
@pytest.mark.parametrize("has_proc", [True, False])
def test_the_maker_of_a_processor(
    maker: str, has_proc: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "cpuinfo"
    if has_proc:
        info.write_text(f"processor\t: 0\nvendor_id\t: {maker}\n\nprocessor\t: 1\n")
    monkeypatch.setattr(device, "Path", lambda _: info)
    monkeypatch.setattr(device.platform, "processor", lambda: f"Family 25, {maker}")
    assert device.is_made_by_amd() == (maker == "AuthenticAMD")


@pytest.mark.parametrize("unit", ["amx_int8", "avx512_vnni", "avx_vnni", "avx2"])
def test_only_vnni_sums_bytes_in_32_bits(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {unit: True})
    assert device.sums_bytes_in_32_bits() == (unit != "avx2")
    monkeypatch.setattr(device.platform, "machine", lambda: "aarch64")
    assert device.sums_bytes_in_32_bits()


def clocked_module(order: list[str], **parts: object) -> SimpleNamespace:
    """A device's module that notes what is asked of it."""
    return SimpleNamespace(synchronize=lambda where: order.append(f"wait {where}"), **parts)


def test_a_device_with_a_clock_of_its_own_tells_the_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order: list[str] = []

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self, stream: str) -> None:
            order.append(f"event on {stream}")

        def elapsed_time(self, end: object) -> float:
            assert end is not self
            return 1500.0

    module = clocked_module(order, Event=Event, current_stream=lambda where: f"{where}'s")
    monkeypatch.setattr(torch, "get_device_module", lambda _: module)
    assert seconds_on(torch.device("cuda:1"), lambda: order.append("work")) == 1.5
    event, wait = "event on cuda:1's", "wait cuda:1"
    assert order == [wait, event, "work", event, wait]


def test_a_device_without_a_clock_is_waited_for_at_both_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order: list[str] = []
    monkeypatch.setattr(torch, "get_device_module", lambda _: clocked_module(order))
    times = iter((10.0, 12.5))
    monkeypatch.setattr(device.time, "perf_counter", lambda: order.append("clock") or next(times))
    assert seconds_on(torch.device("cuda"), lambda: order.append("work")) == 2.5
    assert order == ["wait cuda", "clock", "work", "wait cuda", "clock"]


def test_a_processor_is_timed_by_its_own_clock() -> None:
    done: list[int] = []
    assert seconds_on(torch.device("cpu"), lambda: done.append(1)) > 0
    assert done == [1]
