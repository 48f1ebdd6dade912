"""The tables of classifiers: their rows with the published top-1 and top-5 errors (SPP §3.1)."""

from __future__ import annotations

from detection.reproduce.table import Row, Table

_HEADS = (("no SPP", "no_spp"), ("SPP, one size", "single"), ("SPP, two sizes", "multi"))
_SINGLE_VIEWS = (
    ("one size", "single", "one crop", "centre"),
    ("one size", "single", "full image", "full"),
    ("two sizes", "multi", "one crop", "centre"),
    ("two sizes", "multi", "full image", "full"),
)


def _classifiers(shown: str, network: str, papers: tuple[tuple[float, float], ...]) -> list[Row]:
    """Return a column of SPP Table 2 as rows: top-1 and top-5 errors of ten views."""
    return [
        Row(
            name=f"{shown}, {words}, 10 views",
            training=f"{network}-{head}",
            view="ten",
            paper=top1,
            paper_top5=top5,
        )
        for (words, head), (top1, top5) in zip(_HEADS, papers, strict=True)
    ]


def _single_views(shown: str, network: str, papers: tuple[float, ...]) -> list[Row]:
    """Return the rows of a network in SPP Table 3, which has top-1 errors alone."""
    return [
        Row(name=f"{shown}, SPP, {size}, {words}", training=f"{network}-{head}", view=view, paper=n)
        for (size, head, words, view), n in zip(_SINGLE_VIEWS, papers, strict=True)
    ]


SPP_2_TO_4 = Table(
    name="spp-tables-2-4",
    title="Classification with and without a pyramid",
    source="SPP Tables 2 to 4",
    task="classification",
    own_trunk=True,
    note="Table 4 also has other authors' networks, which are not here. The errors of 96 views "
    "without the full image are from the text (SPP §3.1.5).",
    rows=(
        *_classifiers("ZF-5", "zf5", ((35.99, 14.76), (34.98, 14.14), (34.60, 13.64))),
        *_classifiers("Convnet*-5", "convnet5", ((34.93, 13.92), (34.38, 13.54), (33.94, 13.33))),
        *_classifiers("Overfeat-5", "overfeat5", ((34.13, 13.52), (32.87, 12.80), (32.26, 12.33))),
        *_classifiers("Overfeat-7", "overfeat7", ((32.01, 11.97), (30.36, 11.12), (29.68, 10.95))),
        *_single_views("ZF-5", "zf5", (38.01, 37.55, 37.57, 37.07)),
        *_single_views("Overfeat-7", "overfeat7", (33.18, 32.72, 32.57, 31.25)),
        Row(
            name="Overfeat-7, SPP, two sizes, 96 views",
            training="overfeat7-multi",
            view="all_maps",
            paper_top5=9.36,
        ),
        Row(
            name="Overfeat-7, SPP, two sizes, 96 views and 2 of the full image",
            training="overfeat7-multi",
            view="all_maps_full",
            paper=27.86,
            paper_top5=9.14,
        ),
    ),
)
