"""The layer that the SVMs read, as a function of pool5."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from detection.config import FeatureConfig
from detection.heads.fast_fc import FastFc, Kind, prepare_fast
from detection.heads.fc import FcHead, FcName, FcStart


def identity(pool5: Float[Tensor, "u d"]) -> Float[Tensor, "u d"]:
    """Return pool5 unchanged, for SVMs that read it."""
    return pool5


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class FcLayer:
    """fc6 or fc7 of pool5 at test time: without dropout, without gradients.

    Attributes:
        head: the two fc layers.
        layer: which of them to read.
        fast: the same layers in a faster form; None runs them as they were trained.
        groups: numbers of columns of pool5, one of each map, that have 8-bit scales of their own.
    """

    head: FcHead
    layer: FcName
    fast: FastFc | None = None
    groups: tuple[int, ...] = ()

    def __call__(self, pool5: Float[Tensor, "u d"]) -> Float[Tensor, "u f"]:
        """Return the layer's output for each row."""
        if self.fast is not None:
            return self.fast(pool5)
        with torch.no_grad():
            return self.head.eval().forward(pool5, self.layer)

    def prepared(self, kind: Kind) -> FcLayer:
        """Return the layer in a faster form; its weights are frozen from now on."""
        fast = prepare_fast(self.head, kind, self.layer, groups=self.groups)
        return replace(self, fast=fast)

    def to(self, device: torch.device, kind: Kind) -> FcLayer:
        """Return a copy of the layer on another device, in the form that is fast there."""
        return replace(self, head=copy.deepcopy(self.head).to(device), fast=None).prepared(kind)

    @staticmethod
    def from_tensors(
        tensors: Mapping[str, Tensor], layer: FcName, start: FcStart = "random"
    ) -> FcLayer:
        """Build fc6 and fc7 as wide as their stored tensors, on their device.

        Args:
            tensors: of an `FcHead`.
            layer: which of them to read.
            start: what they had started their training from.
        """
        weight = tensors["fc6.weight"]
        single = "fc7.weight" not in tensors
        head = FcHead(int(weight.shape[1]), size=int(weight.shape[0]), single=single)
        head = head.to(weight.device)
        head.load_state_dict(dict(tensors))
        head.start = start
        return FcLayer(head=head, layer=layer)


def fc_kind(config: FeatureConfig, dtype: torch.dtype) -> Kind:
    """Return how fc6 and fc7 are computed at test time.

    Args:
        config: which form.
        dtype: of the conv layers, which ``auto`` follows.
    """
    if config.fc != "auto":
        return config.fc
    return "bf16" if dtype == torch.bfloat16 else "fp32"
