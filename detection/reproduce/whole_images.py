"""The tables of linear SVMs on features of whole images: VOC2007 and Caltech101 (SPP §3.2, §3.3).

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from detection.reproduce.table import Row, Table, Task, Training

_LAYERS = {
    "pool5": "--features.layer pool5 --features.levels 6",
    "pyramid": "--features.layer pool5 --features.levels 1,2,3,6",
    "fc6": "--features.layer fc6 --features.levels 1,2,3,6",
    "fc7": "--features.layer fc7 --features.levels 1,2,3,6",
}
"""Of a network with a pyramid, pool5 is the pyramid's 6 x 6 level (SPP Table 6)."""

_ALL, _NO_PYRAMID = tuple(_LAYERS), ("pool5", "fc6", "fc7")
_SOURCES = {"voc": "images", "caltech": "folder"}
_TASKS: dict[str, Task] = {"voc": "images", "caltech": "folders"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """A column of SPP Table 6 or 7.

    Attributes:
        model: as shown.
        preset: of the network, below ``images/``.
        view: of the image.
        side: of the square, or the shorter one.
        layers: that the SVMs read.
        papers: layer -> the published number.
    """

    model: str
    preset: str
    view: str
    side: int
    layers: tuple[str, ...] = _ALL
    papers: tuple[tuple[str, float], ...] = ()

    def trainings(self, data: str) -> Iterator[tuple[str, Training]]:
        """Yield each layer with its training on ``voc`` or ``caltech``."""
        pool = "last_pool" if self.preset.endswith("no_spp") else "pyramid"
        for layer in self.layers:
            yield (
                layer,
                Training(
                    name=f"{data}-{self.preset.replace('_', '-')}-{self.view}{self.side}-{layer}",
                    preset=f"images/{self.preset}",
                    task=_TASKS[data],
                    options=f"{_LAYERS[layer]} --features.scales {self.side} "
                    f"--classify.svm_source {_SOURCES[data]} --classify.svm_view {self.view} "
                    f"--classify.svm_pool {pool}",
                ),
            )

    def rows(self, data: str) -> Iterator[Row]:
        """Yield a row for each layer."""
        papers = dict(self.papers)
        words = {"crop": "crop", "full": "full image", "warp": "warped"}[self.view]
        for layer, training in self.trainings(data):
            yield Row(
                name=f"{self.model}, {words} {self.side}, {layer}",
                training=training.name,
                paper=papers.get(layer),
            )


_NO_SPP = _Column(
    model="no SPP (ZF-5)", preset="zf5_no_spp", view="crop", side=224, layers=_NO_PYRAMID
)


def _zf5(view: str, side: int, layers: tuple[str, ...] = _ALL, **papers: float) -> _Column:
    return _Column(
        model="SPP (ZF-5)",
        preset="zf5",
        view=view,
        side=side,
        layers=layers,
        papers=tuple(papers.items()),
    )


def _overfeat7(side: int, **papers: float) -> _Column:
    return _Column(
        model="SPP (Overfeat-7)",
        preset="overfeat7",
        view="full",
        side=side,
        papers=tuple(papers.items()),
    )


_COLUMNS = {
    "voc": (
        _NO_SPP,
        _zf5("crop", 224, fc7=76.45),
        _zf5("full", 224, fc7=78.39),
        _zf5("full", 392, fc7=80.10),
        _overfeat7(392),
    ),
    "caltech": (
        _NO_SPP,
        _zf5("crop", 224),
        _zf5("full", 224, pyramid=91.44),
        _zf5("warp", 224, layers=("pyramid",), pyramid=89.91),
        _overfeat7(224, pyramid=93.42),
    ),
}

IMAGE_TRAININGS = tuple(
    training
    for data, columns in _COLUMNS.items()
    for column in columns
    for _, training in column.trainings(data)
)
"""Every training of these tables: SVMs, which are trained and tested in one go."""

_POOL5_NOTE = "pool5 of a network with a pyramid is its 6 x 6 level. "

SPP_6 = Table(
    name="spp-table-6",
    title="Whole images: SVMs on a network's features",
    source="SPP Table 6",
    task="images",
    note=f"{_POOL5_NOTE}The paper has no rows of the whole pyramid; its rows of conv4 and conv5, "
    "without any pooling, are not here. Its 82.44 with Overfeat-7 was found at a side that is not "
    "certain here. fc6 and fc7 of Overfeat-7 are what the paper counts as fc8 "
    "and fc9.",
    rows=tuple(row for column in _COLUMNS["voc"] for row in column.rows("voc")),
)

SPP_7_TO_8 = Table(
    name="spp-tables-7-8",
    title="Caltech101: SVMs on a network's features",
    source="SPP Tables 7 and 8",
    task="folders",
    note="30 training images and up to 50 test images of each class, in 10 random splits with the "
    "seeds 0 to 9; the mean over the classes, its mean over the splits and their standard "
    f"deviation. {_POOL5_NOTE}The paper's rows of conv4 and conv5, and other authors' methods in "
    "Table 8, are not here.",
    rows=tuple(row for column in _COLUMNS["caltech"] for row in column.rows("caltech")),
)
