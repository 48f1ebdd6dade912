"""Weight files: where to get published ones, and how to read any without running code."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import Tensor

from detection.errors import CheckpointError, ConfigError
from detection.io.files import sha256_of_file
from detection.io.reading import require_plain
from detection.io.tensors import load_tensors

PUBLISHED = "IMAGENET1K_V1"
"""The one of torchvision's sets of weights that is taken."""


def published_enum(published: str) -> str:
    """Return torchvision's name for the weights: ``AlexNet_Weights.IMAGENET1K_V1``."""
    from torchvision import models

    return str(models.get_model_weights(published)[PUBLISHED])


def published_facts(published: str) -> tuple[float | None, float | None]:
    """Return the megabytes of torchvision's weights and their top-1 accuracy on ImageNet, if said.

    The accuracy is of the whole network on the validation images, in percent.
    """
    from torchvision import models

    meta = models.get_model_weights(published)[PUBLISHED].meta
    mebibytes = meta.get("_file_size")
    top1 = meta.get("_metrics", {}).get("ImageNet-1K", {}).get("acc@1")
    return None if mebibytes is None else round(mebibytes * 1.048576, 1), top1


def published_url(published: str) -> str:
    """Return the URL of torchvision's weights for one of its networks."""
    from torchvision import models

    return str(models.get_model_weights(published)[PUBLISHED].url)


def published_path(published: str) -> Path:
    """Return the path of torchvision's weights under TORCH_HOME, whether or not they exist."""
    name = Path(urlparse(published_url(published)).path).name
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def published_file(name: str, published: str | None, other: str = "a file") -> Path:
    """Return the verified file of torchvision's weights, downloading it if missing.

    Args:
        name: of the backbone.
        published: its name under ``torchvision.models``, if it is published there.
        other: what its weights can be instead.

    Raises:
        ConfigError: if torchvision publishes none for this network.
        CheckpointError: if the download fails or the file's hash is not the one in its name.
    """
    if published is None:
        message = (
            f"backbone.weights: expected {other} or none for {name}, got 'torchvision'; "
            "torchvision publishes no such network"
        )
        raise ConfigError(message)
    url = published_url(published)
    path = published_path(published)
    if not path.exists():
        download(url, path)
    check_digest(path, "remove the file to download it again")
    return path


def check_digest(path: Path, remedy: str) -> None:
    """Compare a file with the digits at the end of its name: ``vgg16-397923af.pth``.

    Raises:
        CheckpointError: if its SHA-256 does not start with them.
    """
    expected = path.stem.rsplit("-", 1)[-1]
    actual = sha256_of_file(path)
    if not actual.startswith(expected):
        message = (
            f"{path}: expected a SHA-256 that starts with {expected}, got {actual[:16]}...; "
            f"{remedy}"
        )
        raise CheckpointError(message)


def download(url: str, path: Path) -> None:
    """Fetch a weight file.

    Raises:
        CheckpointError: where there is no network or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), progress=False)
    except OSError as error:
        message = (
            f"{path.name}: cannot be downloaded from {url} ({error}); put the file into "
            f"{path.parent}, or set backbone.weights to a file or to 'none'"
        )
        raise CheckpointError(message) from error


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Read a .safetensors file or a state dict, without ever running code: (tensors, metadata).

    Raises:
        CheckpointError: if the file is missing, damaged, executable or not a state dict.
    """
    if path.suffix == ".safetensors":
        tensors, metadata = load_tensors(path)
        return without_wrapper(tensors), metadata
    require_plain(path, "a state dict", CheckpointError)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        message = (
            f"{path}: expected a state dict of tensors, got a file that is damaged or that would "
            "run code when it is read; save model.state_dict() or a .safetensors file"
        )
        raise CheckpointError(message) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else "it ends too early"
        message = f"{path}: expected a state dict, got a missing or truncated file: {reason}"
        raise CheckpointError(message) from error
    state = _unnested(state)
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        message = f"{path}: expected a state dict of tensors, got {type(state).__name__}"
        raise CheckpointError(message)
    return without_wrapper({str(key): tensor for key, tensor in state.items()}), {}


_NESTED = ("state_dict", "model_state_dict", "model", "net", "weights")
"""Where training scripts keep the weights in a dictionary of their own."""

_WRAPPERS = ("module.", "_orig_mod.", "model.", "backbone.", "net.")
"""What DataParallel, torch.compile and classes around a network put before each name."""


def _unnested(state: object) -> object:
    """Return the state dict in a dictionary of a training script; anything else as it is."""
    if not isinstance(state, dict) or any(isinstance(v, Tensor) for v in state.values()):
        return state
    found = (state[key] for key in _NESTED if isinstance(state.get(key), dict))
    return next(found, state)


def without_wrapper(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without the names of wrappers that stand before all of them."""
    tensors = dict(tensors)
    while tensors:
        shared = (p for p in _WRAPPERS if all(name.startswith(p) for name in tensors))
        prefix = next(shared, None)
        if prefix is None:
            break
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors
