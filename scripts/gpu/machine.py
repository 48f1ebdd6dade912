"""Say what machine this is, and compile what is compiled once: nothing timed waits for it."""

from __future__ import annotations

import time

import torch
from common import read_settings, write

from detection.config import ProposalConfig
from detection.io.device import seconds_on
from detection.proposals.search import propose
from detection.runs.environment import processor_name
from detection.structures import Image
from detection.tiny import tiny_detector


def compile_kernels() -> float:
    """Search boxes in every mode and detect once on the CPU; return the seconds."""
    start = time.perf_counter()
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (96, 128, 3), dtype=torch.uint8, generator=random)
    image = Image(image_id="noise", pixels=pixels)
    for mode in ("fast", "paper_fast"):
        propose(image, ProposalConfig(mode=mode))
    tiny_detector().detect(image)
    return time.perf_counter() - start


def main() -> None:
    """Print and write."""
    settings = read_settings(__doc__)
    device = settings.device
    first = torch.randn(64, 64).to(device)
    values = {
        "triton": triton_version(),
        "compile_s": compile_kernels(),
        "first_product_s": seconds_on(device, lambda: first @ first),
    }
    write(settings, "machine", values)
    print(f"{device}, torch {torch.__version__}, CUDA {torch.version.cuda}, {processor_name()}")
    print(values)


def triton_version() -> str | None:
    """Return the version of Triton, which is optional."""
    try:
        import triton
    except ImportError:
        return None
    return str(triton.__version__)


if __name__ == "__main__":
    main()
