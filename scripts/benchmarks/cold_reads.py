"""The features of 64 RoIs of an image from disk: its conv map, pooled again, against pooled rows.

The files are dropped from the page cache before every read (Linux), which is not timed. Our file
is checked when it is read: hash and finite values. A file of pooled features
holds 2,000 x 12,800 bfloat16 numbers, as training without shared maps would keep them; ours is
the ZF-5 map of one scale in bfloat16. The second line is the disk alone, without hash and pooling;
the last compares the sizes of the files.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from comparison import Candidate, Comparison, compare, parse, show

from detection.features.pyramid import pyramid_pool
from detection.io.tensors import load_tensors, save_tensors

BOXES, CHANNELS, ROWS, COLUMNS, BINS = 2000, 256, 38, 50, 50


def drop_from_cache(path: Path) -> None:
    """Ask the kernel to forget a file's pages."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def main() -> None:
    """Measure and print."""
    options = parse(__doc__.split("\n", maxsplit=1)[0], rois=64, repeats=15)
    random = torch.Generator().manual_seed(0)
    values = torch.randn(CHANNELS, ROWS, COLUMNS, generator=random).relu().bfloat16()
    corners = torch.rand(BOXES, 4, generator=random)
    x = (corners[:, ::2].sort(dim=1).values * (COLUMNS - 1)).long()
    y = (corners[:, 1::2].sort(dim=1).values * (ROWS - 1)).long()
    windows = torch.stack((x[:, 0], y[:, 0], x[:, 1] + 1, y[:, 1] + 1), dim=1)
    wanted = torch.randperm(BOXES, generator=random)[: options.rois]
    with tempfile.TemporaryDirectory(dir=".") as folder:
        map_file, pooled_file = Path(folder) / "map.safetensors", Path(folder) / "pooled.bin"
        save_tensors(map_file, {"map": values}, {})
        pooled = pyramid_pool(values, windows).bfloat16()
        pooled_file.write_bytes(pooled.view(torch.int16).numpy().tobytes())

        def from_map() -> torch.Tensor:
            values = load_tensors(map_file)[0]["map"]
            return pyramid_pool(values, windows[wanted]).bfloat16()

        def from_rows() -> torch.Tensor:
            shape = (BOXES, CHANNELS * BINS)
            rows = np.memmap(pooled_file, dtype=np.int16, mode="r", shape=shape)
            return torch.from_numpy(rows[wanted.numpy()]).view(torch.bfloat16)

        def difference(a: torch.Tensor | bytes, b: torch.Tensor) -> float:
            return 0.0 if isinstance(a, bytes) else float((a.float() - b.float()).abs().max())

        results = compare(
            f"{options.rois} RoIs of an image, cold",
            Candidate(
                name="pooled features on disk",
                run=from_rows,
                before=lambda: drop_from_cache(pooled_file),
            ),
            [
                Candidate(
                    name="conv map, pooled again",
                    run=from_map,
                    reach=15.0,
                    before=lambda: drop_from_cache(map_file),
                ),
                Candidate(
                    name="floor: the bytes of the map alone",
                    run=map_file.read_bytes,
                    reach=0.0,
                    before=lambda: drop_from_cache(map_file),
                ),
            ],
            difference,
            options.repeats,
        )
        ours, theirs = map_file.stat().st_size, pooled_file.stat().st_size
    size = Comparison(
        step="MiB an image on disk",
        ours=results[0].ours,
        against=results[0].against,
        ours_s=ours / 2**20,
        against_s=theirs / 2**20,
        ratio=theirs / ours,
        reach=40.0,
        max_difference=0.0,
    )
    show(results, options.json)
    show([size], options.json, "MiB")


if __name__ == "__main__":
    main()
