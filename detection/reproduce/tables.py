"""The tables themselves: their rows with the published numbers.

``SPP`` is He et al. 2015 (arXiv 1406.4729), ``RC`` Girshick et al. 2014 (arXiv 1311.2524v5), ``FR``
Girshick 2015 (arXiv 1504.08083). A number that is not certain is left out.
"""

from __future__ import annotations

from detection.reproduce.classifiers import SPP_2_TO_4
from detection.reproduce.table import Row, Table
from detection.reproduce.whole_images import SPP_6, SPP_7_TO_8

_NO_BB = "--postprocess.regression false"

# fmt: off
_RC_POOL5 = (51.8, 60.2, 36.4, 27.8, 23.2, 52.8, 60.6, 49.2, 18.3, 47.8,
             44.3, 40.8, 56.6, 58.7, 42.4, 23.4, 46.1, 36.7, 51.3, 55.7)
_RC_FC6 = (59.3, 61.8, 43.1, 34.0, 25.1, 53.1, 60.6, 52.8, 21.7, 47.8,
           42.7, 47.8, 52.5, 58.5, 44.6, 25.6, 48.3, 34.0, 53.1, 58.0)
_RC_FC7 = (57.6, 57.9, 38.5, 31.8, 23.7, 51.2, 58.9, 51.4, 20.0, 50.5,
           40.9, 46.0, 51.6, 55.9, 43.3, 23.3, 48.1, 35.3, 51.0, 57.4)
_RC_FT_POOL5 = (58.2, 63.3, 37.9, 27.6, 26.1, 54.1, 66.9, 51.4, 26.7, 55.5,
                43.4, 43.1, 57.7, 59.0, 45.8, 28.1, 50.8, 40.6, 53.1, 56.4)
_RC_FT_FC6 = (63.5, 66.0, 47.9, 37.7, 29.9, 62.5, 70.2, 60.2, 32.0, 57.9,
              47.0, 53.5, 60.1, 64.2, 52.2, 31.3, 55.0, 50.0, 57.7, 63.0)
_RC_FT_FC7 = (64.2, 69.7, 50.0, 41.9, 32.0, 62.6, 71.0, 60.7, 32.7, 58.5,
              46.5, 56.1, 60.6, 66.8, 54.2, 31.5, 52.8, 48.9, 57.9, 64.7)
_RC_BB = (68.1, 72.8, 56.8, 43.0, 36.8, 66.3, 74.2, 67.6, 34.4, 63.5,
          54.5, 61.2, 69.1, 68.6, 58.7, 33.4, 62.9, 51.1, 62.5, 64.8)
_RC_VGG16 = (71.6, 73.5, 58.1, 42.2, 39.4, 70.7, 76.0, 74.5, 38.7, 71.0,
             56.9, 74.5, 67.9, 69.6, 59.3, 35.7, 62.1, 64.0, 66.5, 71.2)
_RC_VGG16_BB = (73.4, 77.0, 63.4, 45.4, 44.6, 75.1, 78.1, 79.8, 40.5, 73.7,
                62.2, 79.4, 78.1, 73.1, 64.2, 35.6, 66.8, 67.2, 70.4, 71.1)
_SPP_VGG16_BB = (73.9, 72.3, 62.5, 51.5, 44.4, 74.4, 73.0, 74.4, 42.3, 73.6,
                 57.7, 70.3, 74.6, 74.3, 54.2, 34.0, 56.4, 56.4, 67.9, 73.5)
_FAST_RCNN = (74.5, 78.3, 69.2, 53.2, 36.6, 77.3, 78.2, 82.0, 40.7, 72.7,
              67.9, 79.6, 79.2, 73.0, 69.0, 30.1, 65.4, 70.2, 75.8, 65.8)
# fmt: on


def _sppnet_rows(number: str, papers: tuple[float, ...]) -> tuple[Row, ...]:
    """Return a column of SPP Table 9 as rows."""
    name = f"sppnet-zf5-{number}scale"
    shown = {"1": "SPPnet, 1 scale", "5": "SPPnet, 5 scales"}[number]
    lines = (("pool5", "pool5"), ("fc6", "fc6"), ("ft fc6", "ft-fc6"), ("ft fc7", "ft-fc7"))
    return (
        *(
            Row(name=f"{shown}, {words}", training=f"{name}-{layer}", test=_NO_BB, paper=paper)
            for (words, layer), paper in zip(lines, papers, strict=False)
        ),
        Row(name=f"{shown}, ft fc7 bb", training=f"{name}-ft-fc7", paper=papers[-1]),
    )


def _rcnn(layer: str, paper: float, classes: tuple[float, ...] = (), name: str = "R-CNN") -> Row:
    """Return R-CNN on AlexNet without box regression."""
    training = f"rcnn-alexnet-{layer.lower().replace(' ', '-')}"
    return Row(
        name=f"{name}, {layer}",
        training=training,
        test=_NO_BB,
        paper=paper,
        paper_classes=classes,
    )


_RC_BB_ROW = Row(
    name="R-CNN, ft fc7 bb", training="rcnn-alexnet-ft-fc7", paper=58.5, paper_classes=_RC_BB
)
_NETWORK_NOTE = (
    "The published numbers are of Caffe's AlexNet; the preset takes torchvision's. Caffe's file "
    "is used with --backbone.name caffenet --backbone.weights FILE."
)
_ZF5_NOTE = "SPPnet's rows are of ZF-5, whose weights are not published for PyTorch."

_SPP_9 = Table(
    name="spp-table-9",
    title="SPPnet and R-CNN, layer by layer",
    source="SPP Table 9",
    note=_ZF5_NOTE,
    rows=(
        *_sppnet_rows("1", (43.0, 42.5, 52.3, 54.5, 58.0)),
        *_sppnet_rows("5", (44.9, 44.8, 53.7, 55.2, 59.2)),
        _rcnn("pool5", 44.2),
        _rcnn("fc6", 46.2),
        _rcnn("ft fc6", 53.1),
        _rcnn("ft fc7", 54.2),
        _RC_BB_ROW,
    ),
)
_SPP_10 = Table(
    name="spp-table-10",
    title="SPPnet and R-CNN on the same ZF-5",
    source="SPP Table 10",
    timed=True,
    note="The paper's times are of a GPU of 2014; neither they nor those here include the boxes.",
    rows=tuple(
        Row(name=f"{name}{words}", training=training, test=test, paper=paper, paper_seconds=seconds)
        for name, training, seconds, papers in (
            ("SPPnet, 1 scale", "sppnet-zf5-1scale-ft-fc7", 0.142, (54.5, 58.0)),
            ("SPPnet, 5 scales", "sppnet-zf5-5scale-ft-fc7", 0.382, (55.2, 59.2)),
            ("R-CNN", "rcnn-zf5-ft-fc7", 14.46, (55.1, 59.2)),
        )
        for words, test, paper in zip(
            (", ft fc7", ", ft fc7 bb"), (_NO_BB, ""), papers, strict=True
        )
    ),
)
_SPP_11 = Table(
    name="spp-table-11",
    title="Each class",
    source="SPP Table 11",
    per_class=True,
    note="APs of SPPnet's classes are left out here: they are not certain.",
    rows=(
        _rcnn("ft fc7", 54.2, _RC_FT_FC7),
        Row(name="R-CNN (ZF-5), ft fc7", training="rcnn-zf5-ft-fc7", test=_NO_BB, paper=55.1),
        _SPP_9.rows[8],
        _RC_BB_ROW,
        Row(name="R-CNN (ZF-5), ft fc7 bb", training="rcnn-zf5-ft-fc7", paper=59.2),
        _SPP_9.rows[9],
    ),
)
_SPP_12 = Table(
    name="spp-table-12",
    title="Two models, and both combined",
    source="SPP Table 12",
    per_class=True,
    note="The second model starts from other pre-trained weights; two fine-tunings of the same "
    "conv layers gain nothing (SPP §4.4).",
    rows=(
        Row(name="SPPnet (1)", training="sppnet-zf5-5scale-ft-fc7", paper=59.2),
        Row(name="SPPnet (2)", training="sppnet-zf5-5scale-second", paper=59.1),
        Row(
            name="combination",
            training="sppnet-zf5-5scale-ft-fc7",
            others=("sppnet-zf5-5scale-second",),
            paper=60.9,
        ),
    ),
)
_RC_2 = Table(
    name="rcnn-table-2",
    title="R-CNN layer by layer, before and after fine-tuning",
    source="RC Table 2",
    per_class=True,
    note=_NETWORK_NOTE,
    rows=(
        _rcnn("pool5", 44.2, _RC_POOL5),
        _rcnn("fc6", 46.2, _RC_FC6),
        _rcnn("fc7", 44.7, _RC_FC7),
        _rcnn("ft pool5", 47.3, _RC_FT_POOL5),
        _rcnn("ft fc6", 53.1, _RC_FT_FC6),
        _rcnn("ft fc7", 54.2, _RC_FT_FC7),
        _RC_BB_ROW,
    ),
)
_RC_3 = Table(
    name="rcnn-table-3",
    title="R-CNN on two networks",
    source="RC Table 3",
    per_class=True,
    own_trunk=True,
    note=_NETWORK_NOTE,
    rows=(
        _rcnn("ft fc7", 54.2, _RC_FT_FC7, name="R-CNN (AlexNet)"),
        Row(
            name="R-CNN (AlexNet), ft fc7 bb",
            training="rcnn-alexnet-ft-fc7",
            paper=58.5,
            paper_classes=_RC_BB,
        ),
        Row(
            name="R-CNN (VGG16), ft fc7",
            training="rcnn-vgg16-ft-fc7",
            test=_NO_BB,
            paper=62.2,
            paper_classes=_RC_VGG16,
        ),
        Row(
            name="R-CNN (VGG16), ft fc7 bb",
            training="rcnn-vgg16-ft-fc7",
            paper=66.0,
            paper_classes=_RC_VGG16_BB,
        ),
    ),
)
_RC_A = Table(
    name="rcnn-appendix-a",
    title="How a box becomes a crop",
    source="RC Appendix A",
    note="The paper has no table: warping with 16 pixels of context was 3 to 5 points better than "
    "the alternatives; p is that padding. The tightest square without context is not offered. "
    "SVMs on fc7, not fine-tuned, without box regression.",
    rows=tuple(
        Row(
            name=f"{words}, p = {context}",
            training=f"rcnn-alexnet-{warp}-{context}",
            test=_NO_BB,
        )
        for warp, words in (("warp", "warped"), ("square", "tightest square with context"))
        for context in (16, 0)
    ),
)
_RC_B = Table(
    name="rcnn-appendix-b",
    title="SVMs, or the softmax of fine-tuning",
    source="RC Appendix B",
    note=_NETWORK_NOTE,
    rows=(
        _rcnn("ft fc7", 54.2, name="SVMs"),
        Row(
            name="softmax, ft fc7",
            training="rcnn-alexnet-softmax",
            test=f"{_NO_BB} --postprocess.score_threshold 0.001",
            paper=50.9,
        ),
    ),
)
_SOFTMAX = "--postprocess.score_threshold 0.001"
_LADDER = Table(
    name="ladder",
    title="From R-CNN to Fast R-CNN, one step at a time",
    source="FR Tables 1, 4 and 5, VGG16",
    timed=True,
    note="Same boxes, trunk and seeds. The steps between the published ones have no paper number. "
    "Times are without the boxes; the paper's are of a GPU of 2015.",
    rows=(
        Row(
            name="R-CNN",
            training="rcnn-vgg16-ft-fc7",
            paper=66.0,
            paper_classes=_RC_VGG16_BB,
            paper_seconds=47.0,
        ),
        Row(
            name="SPPnet, 5 scales",
            training="sppnet-vgg16-5scale-ft-fc7",
            paper=63.1,
            paper_classes=_SPP_VGG16_BB,
            paper_seconds=2.3,
        ),
        Row(name="SPPnet, 1 scale, pyramid of 50 bins", training="ladder-sppnet"),
        Row(name="+ softmax and boxes in one loss", training="ladder-joint", test=_SOFTMAX),
        Row(name="+ open conv layers", training="ladder-open", test=_SOFTMAX),
        Row(
            name="+ one level of 7 x 7 (Fast R-CNN)",
            training="ladder-fast-rcnn",
            test=_SOFTMAX,
            paper=66.9,
            paper_classes=_FAST_RCNN,
            paper_seconds=0.32,
        ),
        Row(
            name="Fast R-CNN, conv layers frozen",
            training="ladder-fast-rcnn-frozen",
            test=_SOFTMAX,
            paper=61.4,
        ),
    ),
)

_LADDER_LITE0 = Table(
    name="ladder-lite0",
    title="From R-CNN to RoIAlign, one step at a time",
    source="EfficientNet-Lite0, in no paper",
    timed=True,
    own_trunk=True,
    note="Same 300 boxes, trunk, maps, optimiser and seed; images of 400 pixels, 5 epochs. R-CNN "
    "sees crops of 224 pixels for 2 epochs and has a softmax: SVMs would take all crops once "
    "more. Times are without the boxes; CPU time counts all cores.",
    rows=(
        Row(name="R-CNN, 2 epochs", training="ladder-lite0-rcnn"),
        Row(name="SPPnet, conv layers frozen, SVMs", training="ladder-lite0-sppnet"),
        Row(name="+ softmax and boxes in one loss", training="ladder-lite0-joint"),
        Row(name="+ open conv layers", training="ladder-lite0-open"),
        Row(name="+ one level of 7 x 7 (Fast R-CNN)", training="ladder-lite0-fast-rcnn"),
        Row(name="+ RoIAlign", training="ladder-lite0-roi-align"),
    ),
)

_ALL = (
    SPP_2_TO_4,
    SPP_6,
    SPP_7_TO_8,
    _SPP_9,
    _SPP_10,
    _SPP_11,
    _SPP_12,
    _RC_2,
    _RC_3,
    _RC_A,
    _RC_B,
    _LADDER,
    _LADDER_LITE0,
)
TABLES = {table.name: table for table in _ALL}
