"""Fine-tune in each of torchrun's processes and leave what each did: ``... ranks FOLDER BATCH``.

``BATCH`` is ``finetune.images_per_batch``; a third word, ``map``, chooses by mAP.
"""

import json
import sys
from pathlib import Path

import torch

from detection.io.tensors import save_tensors
from detection.training.distributed import start_workers
from detection.training.finetune import fine_tune
from detection.training.finetune_model import FineTuneModel
from detection.training.log import read_rows
from tests.training import tiny


def config(images_per_batch, measure="error"):
    look = {"validate_map_every": 3} if measure == "map" else {}
    return tiny.config(
        **look,
        iterations=6,
        dropout=0.0,
        images_per_batch=images_per_batch,
        open_layers=1,
        joint_bbox=True,
        validation_fraction=0.34,
        validate_every=3,
        validation_batches=3,
        log_every=1,
    )


def watched():
    """Note every RoI that goes through the network while it trains."""
    seen = []
    forward = FineTuneModel.forward

    def noting(self, samples, maps):
        if self.training:
            seen.append([[s.index, s.flipped, *box] for s in samples for box in s.boxes.tolist()])
        return forward(self, samples, maps)

    FineTuneModel.forward = noting
    return seen


def work(folder, images_per_batch, workers, measure="error"):
    """Train; give (tensors, what went through the network, validation errors)."""
    seen = watched()
    folder.mkdir(parents=True, exist_ok=True)
    records = tiny.records(folder)
    settings = config(images_per_batch, measure)
    images = tiny.training_images(settings, records)
    errors = []
    from detection.training.solver import Snapshot

    offer = Snapshot.offer
    Snapshot.offer = lambda self, error, step: (errors.append(error), offer(self, error, step))
    tuned = fine_tune(images, settings, folder / "run", workers=workers)
    tensors = {
        "fc8": tuned.scorer.weight,
        "bbox": tuned.regressors.weight,
        "fc6": tuned.fc.fc6.weight.detach(),
        "conv": images.source.extractor.backbone.trunk[2].weight.detach(),
    }
    return tensors, seen, errors


def main():
    torch.set_num_threads(1)
    folder, images_per_batch = Path(sys.argv[1]), int(sys.argv[2])
    workers = start_workers("cpu")
    own = folder / f"rank{workers.rank}"
    tensors, seen, errors = work(own, images_per_batch, workers, *sys.argv[3:])
    rows = len(read_rows(own / "run"))
    save_tensors(own / "weights.safetensors", tensors, {})
    report = {"count": workers.count, "seen": seen, "errors": errors, "rows": rows}
    (own / "report.json").write_text(json.dumps(report))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
