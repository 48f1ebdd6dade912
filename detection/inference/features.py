"""The feature vectors of all boxes of anybody's images: a file an image, for use elsewhere."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from detection.backbones.own import sha256_of_weights
from detection.backbones.weights import load_backbone
from detection.config import Config
from detection.errors import CheckpointError, DataError, ImageError
from detection.features.extractor import FeatureExtractor
from detection.features.factory import make_extractor
from detection.features.memory import extract_within_memory
from detection.heads.layer import identity
from detection.inference.images import Summary, Target, absolute, peak_memory_gib, targets_of
from detection.inference.proposal_prefetch import search_ahead
from detection.inference.shards import ByFingerprint, Recipe, alone, make_recipe
from detection.io.files import remove_leftovers, sha256_of_file, write_json_atomic
from detection.io.parallel import parallel_map
from detection.io.progress import track
from detection.io.shards import DEATHS, Parallel, connected
from detection.io.tensors import read_header, save_tensors
from detection.model_io import load_detector
from detection.runs.folder import model_file
from detection.structures import Image, Proposals, RoIFeatures
from detection.training.pipeline import layer_of
from detection.training.svm_training import HeadLayer

INDEX = "features.json"
"""Which file is whose, below the folder of the results."""

_WORK = "features"


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Network:
    """What turns an image and its boxes into vectors.

    Attributes:
        extractor: from boxes to pool5.
        layer: from pool5 to what is stored.
    """

    extractor: FeatureExtractor
    layer: HeadLayer

    def features(self, image: Image, proposals: Proposals) -> RoIFeatures:
        """Return one vector per box."""
        device = self.extractor.device
        with torch.no_grad():
            boxes = proposals.boxes.to(device)
            pool5 = extract_within_memory(self.extractor, image.to(device), boxes)
            return pool5.map(self.layer)


def extract_features(
    config: Config,
    inputs: Sequence[Path],
    out: Path,
    *,
    run: Path | None = None,
    called: Mapping[Path, str] | None = None,
    parallel: Parallel | None = None,
) -> Summary:
    """Write the features of every box of every image; return what that took.

    An image's file holds ``boxes`` (r, 4), the distinct vectors ``values`` (u, d), and ``rows``
    (r): the vector of box i is ``values[rows[i]]``. Its header says what they depend on: where that
    is the same, the file is not made again. ``features.json`` says which file is whose.

    An image that cannot be read, or searched in ``proposals.time_limit``, is named in the summary
    and does not stop the others.

    Args:
        config: how boxes are proposed, and which network; ``features.layer`` says what is stored.
        inputs: files and folders.
        out: folder to write.
        run: of a trained detector, whose network is taken instead.
        called: what stands for files that were fetched, in ``features.json`` and in errors.
        parallel: where workers share the images; None stays here.

    Raises:
        DetectionError: if no image is found or none can be read, the network cannot be loaded, or
            ``out`` cannot be written.
    """
    start = time.perf_counter()
    parallel = parallel or Parallel()
    targets = targets_of(inputs, called or {}, ".safetensors")
    remove_leftovers(out)
    recipe = _recipe(config, run, parallel)
    load_network(recipe)  # what is wrong with it is said once, and here
    with connected(parallel):
        failed, kept = _extract(recipe, config, targets, out, parallel)
    done = [target for target in targets if target.called not in failed]
    if not done:
        first, *others = failed.values()
        message = f"{first} ({len(others)} more cannot be read either)" if others else first
        raise DataError(message)
    index = {one.called: {"image_id": one.image_id, "file": one.file} for one in done}
    write_json_atomic(out / INDEX, index)
    return Summary(
        images=len(done),
        failed={one.called: failed[one.called] for one in targets if one.called in failed},
        seconds=time.perf_counter() - start,
        peak_gib=peak_memory_gib(),
        kept=kept,
    )


def _recipe(config: Config, run: Path | None, parallel: Parallel) -> Recipe:
    """Return what workers load the network from."""
    threads = torch.get_num_threads() if parallel.kind == "none" else 0
    if run is not None:
        read_header(model_file(Path(run)))  # is it there?
        return make_recipe([run], config, threads=threads, work=_WORK)
    weights = Path(config.backbone.weights)
    if weights.exists():  # workers may have another folder of their own
        config = replace(config, backbone=replace(config.backbone, weights=str(weights.absolute())))
    content = sha256_of_weights(load_backbone(config.backbone))
    return make_recipe((), config, threads=threads, work=_WORK, weights=content)


def load_network(recipe: Recipe) -> Network:
    """Return the network of a recipe, which the process keeps for its next shard.

    Raises:
        DetectionError: if it cannot be loaded.
    """
    return _load(ByFingerprint(recipe))


@functools.lru_cache(maxsize=1)
def _load(key: ByFingerprint) -> Network:
    config = key.recipe.config
    if not key.recipe.models:
        # A word about random weights comes from the process that began.
        backbone = load_backbone(config.backbone, to_train=True)
        extractor = make_extractor(backbone, config.features)
        return Network(extractor=extractor, layer=layer_of(extractor, config))
    detector = load_detector(key.recipe.models[0], device=config.features.device)
    layer = identity if config.features.layer == "pool5" else detector.fc
    return Network(extractor=detector.extractor, layer=layer)


def _extract(
    recipe: Recipe, config: Config, targets: Sequence[Target], out: Path, parallel: Parallel
) -> tuple[dict[str, str], int]:
    """Write the missing files; return image -> why it has none, and how many had theirs."""
    if parallel.kind == "none":
        rows = extract_each(replace(recipe, config=config), out, targets)
        failed, files = _gathered(track(rows, len(targets), _WORK))
        return failed, len(files)
    there = {path.name for path in out.glob("*.safetensors")}
    targets, size = absolute(targets), parallel.images
    shards = [targets[start : start + size] for start in range(0, len(targets), size)]
    outcomes = parallel_map(
        functools.partial(extract_shard, recipe, out.absolute()),
        shards,
        workers=parallel.workers,
        backend=parallel.backend,
        names=[f"{shard[0].called} to {shard[-1].called}" for shard in shards],
        deaths=DEATHS,
    )
    failed, kept = {}, set[str]()
    for _, (reasons, files) in track(outcomes, len(shards), f"{_WORK}, shards"):
        failed.update(reasons)
        kept.update(files)
    remove_leftovers(out)  # of workers that were killed
    return failed, len(kept & there)  # without what such a worker had written


def extract_shard(
    recipe: Recipe, out: Path, targets: Sequence[Target]
) -> tuple[dict[str, str], list[str]]:
    """Write the files of a shard that are missing; called in a worker.

    Args:
        recipe: of the network.
        out: folder of the files.
        targets: the images of the shard.

    Returns:
        Image -> why it has none, and the files that were there already.
    """
    return _gathered(extract_each(recipe, out, targets))


def _gathered(
    rows: Iterable[tuple[Target, str, bool]],
) -> tuple[dict[str, str], list[str]]:
    """Return image -> why it has no file, and the files that were there already."""
    failed, kept = dict[str, str](), list[str]()
    for target, reason, there in rows:
        if there:
            kept.append(target.file)
        if reason:
            failed[target.called] = reason
    return failed, kept


def extract_each(
    recipe: Recipe, out: Path, targets: Sequence[Target]
) -> Iterator[tuple[Target, str, bool]]:
    """Write the files that are missing; yield (image, why it has none, whether it had its file).

    Args:
        recipe: of the network.
        out: folder of the files.
        targets: the images.
    """
    missing = []
    for target in targets:
        if is_there(target, out, recipe.fingerprint):
            yield target, "", True
        else:
            missing.append(target)
    if not missing:
        return
    with alone(recipe.threads):
        network = load_network(recipe)
        searched = search_ahead([target.path for target in missing], recipe.config)
        for target, (path, found) in zip(missing, searched, strict=True):
            if isinstance(found, ImageError):
                yield target, str(found).replace(str(path), target.called), False
                continue
            image = Image(image_id=target.image_id, pixels=torch.from_numpy(found[0]))
            boxes = torch.from_numpy(found[1])
            proposals = Proposals(image_id=target.image_id, boxes=boxes)
            features = network.features(image, proposals)
            header = _header(target, recipe) | {"size": list(image.size)}
            tensors = {"boxes": boxes, "values": features.values, "rows": features.rows}
            save_tensors(out / target.file, tensors, header)
            yield target, "", False


def is_there(target: Target, out: Path, fingerprint: str) -> bool:
    """Return whether an image's features are there, of this content, network and settings."""
    try:
        header = read_header(out / target.file)
        return (
            header.get("key") == fingerprint
            and header.get("image_id") == target.image_id
            and header.get("image_sha256") == sha256_of_file(target.path)
        )
    except (CheckpointError, ImageError):  # none, half of one, or no image any more
        return False


def _header(target: Target, recipe: Recipe) -> dict[str, Any]:
    """Return all that the vectors depend on."""
    return {
        "kind": _WORK,
        "key": recipe.fingerprint,
        "image_id": target.image_id,
        "image_sha256": sha256_of_file(target.path),
        "layer": recipe.config.features.layer,
    }
