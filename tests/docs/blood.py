"""Draws pictures like those of blood under a microscope, annotated as the BCCD set is.

Three classes, VOC files, and two boxes without area: one to train on, one to test on.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("RBC", "WBC", "Platelets")
SIZE = (200, 150)
COLOURS = {"RBC": (205, 120, 110), "WBC": (120, 70, 160), "Platelets": (170, 110, 190)}
RADII = {"RBC": 17, "WBC": 28, "Platelets": 8}


def draw_blood(root: Path, train: int = 16, test: int = 6) -> None:
    """Write JPEGImages, Annotations and ImageSets/Main, and the same as COCO JSON."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    splits = {"trainval": range(train), "test": range(train, train + test)}
    for split, numbers in splits.items():
        names = [f"BloodImage_{number:05d}" for number in numbers]
        (root / f"ImageSets/Main/{split}.txt").write_text("".join(f"{n}\n" for n in names))
        scenes = {name: _draw(root, name, number) for number, name in enumerate(names, numbers[0])}
        (root / f"{split}.json").write_text(json.dumps(_coco(scenes, numbers[0])))


def _draw(root: Path, name: str, number: int) -> list[tuple[str, tuple[int, int, int, int]]]:
    random = np.random.default_rng(number)
    noise = random.normal(0, 4, (SIZE[1], SIZE[0], 3))
    picture = Image.fromarray((np.array((235, 215, 210)) + noise).clip(0, 255).astype(np.uint8))
    drawing, objects = ImageDraw.Draw(picture), []
    kinds = ["WBC", *["RBC"] * int(random.integers(2, 4)), "Platelets", "Platelets"]
    cells = random.permutation(12)[: len(kinds)]
    for kind, cell in zip(kinds, cells, strict=True):
        radius = int(RADII[kind] * random.uniform(0.85, 1.1))
        x, y = 25 + 50 * int(cell % 4), 25 + 50 * int(cell // 4)
        box = [max(x - radius, 0), max(y - radius, 0), min(x + radius, 199), min(y + radius, 149)]
        drawing.ellipse(box, fill=COLOURS[kind], outline=(150, 80, 90))
        objects.append((kind, (box[0] + 1, box[1] + 1, box[2] + 1, box[3] + 1)))
    if number in {3, 17}:
        objects.append(("RBC", (40, 60, 40, 60) if number == 3 else (0, 30, 0, 60)))
    picture.save(root / f"JPEGImages/{name}.jpg", quality=95)
    (root / f"Annotations/{name}.xml").write_text(_voc(name, objects))
    return objects


def _voc(name: str, objects: list[tuple[str, tuple[int, int, int, int]]]) -> str:
    corners = ("xmin", "ymin", "xmax", "ymax")
    rows = [
        f"<object><name>{kind}</name><difficult>0</difficult><bndbox>"
        + "".join(f"<{c}>{v}</{c}>" for c, v in zip(corners, box, strict=True))
        + "</bndbox></object>"
        for kind, box in objects
    ]
    size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height><depth>3</depth></size>"
    file_name = f"<filename>{name}.jpg</filename>"
    return f"<annotation>{file_name}{size}{''.join(rows)}</annotation>\n"


def _coco(
    scenes: dict[str, list[tuple[str, tuple[int, int, int, int]]]], first: int
) -> dict[str, object]:
    images = {name: number for number, name in enumerate(scenes, first)}
    boxes = [(images[name], *item) for name, objects in scenes.items() for item in objects]
    return {
        "images": [
            {"id": number, "file_name": f"{name}.jpg", "width": SIZE[0], "height": SIZE[1]}
            for name, number in images.items()
        ],
        "categories": [{"id": 5 * n, "name": name} for n, name in enumerate(CLASSES, 1)],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": 5 * (CLASSES.index(kind) + 1),
                "bbox": [max(x1 - 1, 0), y1 - 1, x2 - x1 + (x2 > x1), y2 - y1 + (y2 > y1)],
                "iscrowd": 0,
            }
            for number, (image, kind, (x1, y1, x2, y2)) in enumerate(boxes, 100 * first + 1)
        ],
    }
