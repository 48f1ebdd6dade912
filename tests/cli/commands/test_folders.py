"""One command from a folder, as its tool wrote it, to a detector: no other option on the data."""

import json
import logging
import re
from pathlib import Path

import pytest

from detection.cli.main import main
from tests.faults.small import HEIGHT, SETTINGS, WIDTH, scene

CLASSES = ("blue", "red")
SIDES = ("xmin", "ymin", "xmax", "ymax")


def boxes(xml):
    """Return class and corners of the two objects of a scene, counted from 1."""
    names = re.findall(r"<name>(\w+)</name>", xml)
    corners = [list(map(int, re.findall(rf"<{side}>(\d+)<", xml))) for side in SIDES]
    return [(name, *own) for name, *own in zip(names, *corners, strict=True)]


def images(root, folder, count, start):
    """Write images; yield each one's path and its objects."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    for seed in range(start, start + count):
        picture, xml = scene(seed)
        path = root / folder / f"img_{seed:03d}.jpg"
        picture.save(path, quality=95)
        yield path, boxes(xml), xml


def labelimg(root):
    """Images and XML files in one folder."""
    for path, _, xml in images(root, "", 10, 0):
        head = f"<annotation><folder>photos</folder><filename>{path.name}</filename>"
        head += f"<path>C:\\photos\\{path.name}</path><source><database>Unknown</database></source>"
        body = xml.removeprefix("<annotation>")
        path.with_suffix(".xml").write_text(head + body)


def roboflow_coco(root):
    """A folder for each list, with its JSON file among the images."""
    for split, count, start in (("train", 6, 0), ("valid", 3, 6)):
        content = {
            "info": {"year": "2024", "version": "1", "description": "Exported from roboflow.com"},
            "licenses": [{"id": 1, "url": "", "name": "CC BY 4.0"}],
            "categories": [{"id": 0, "name": "shapes", "supercategory": "none"}],
            "images": [],
            "annotations": [],
        }
        for number, name in enumerate(CLASSES, start=1):
            category = {"id": number, "name": name, "supercategory": "shapes"}
            content["categories"].append(category)
        for number, (path, found, _) in enumerate(images(root, split, count, start)):
            own = {"id": number, "license": 1, "file_name": path.name}
            content["images"].append({**own, "height": HEIGHT, "width": WIDTH})
            for name, x1, y1, x2, y2 in found:
                bbox = [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1]
                row = {"id": len(content["annotations"]), "image_id": number, "bbox": bbox}
                row |= {"category_id": CLASSES.index(name) + 1, "area": bbox[2] * bbox[3]}
                content["annotations"].append({**row, "segmentation": [], "iscrowd": 0})
        (root / split / "_annotations.coco.json").write_text(json.dumps(content))


def yolo(root):
    """A YAML file and a text file for each image, in folders for each list."""
    for split, count, start in (("train", 6, 0), ("val", 3, 6)):
        (root / "labels" / split).mkdir(parents=True)
        for path, found, _ in images(root, f"images/{split}", count, start):
            lines = [
                f"{CLASSES.index(name)} {(x1 - 1 + x2) / 2 / WIDTH:.6f} "
                f"{(y1 - 1 + y2) / 2 / HEIGHT:.6f} {(x2 - x1 + 1) / WIDTH:.6f} "
                f"{(y2 - y1 + 1) / HEIGHT:.6f}\n"
                for name, x1, y1, x2, y2 in found
            ]
            (root / "labels" / split / f"{path.stem}.txt").write_text("".join(lines))
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(CLASSES))
    text = f"path: ../datasets/shapes\ntrain: images/train\nval: images/val\ntest:\nnames:\n{names}"
    (root / "data.yaml").write_text(text)


def csv(root):
    """A table for each list, beside the images."""
    for split, count, start in (("train", 6, 0), ("test", 3, 6)):
        rows = ["filename,width,height,class,xmin,ymin,xmax,ymax"]
        for path, found, _ in images(root, "images", count, start):
            rows += [
                f"{path.name},{WIDTH},{HEIGHT},{name},{x1 - 1},{y1 - 1},{x2},{y2}"
                for name, x1, y1, x2, y2 in found
            ]
        (root / f"{split}_labels.csv").write_text("\n".join(rows) + "\n")


TOOLS = {"LabelImg": labelimg, "Roboflow COCO": roboflow_coco, "YOLO": yolo, "CSV": csv}


def run(*words):
    assert main([str(word) for word in words]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("tool", TOOLS)
def test_a_folder_becomes_a_detector(tmp_path, tool, caplog):
    folder, out = tmp_path / "set", tmp_path / "run"
    TOOLS[tool](folder)
    boxes_in = ("--proposals.folder", tmp_path / "boxes")
    run("train", "--data.root", folder, "--out", out, *boxes_in, *SETTINGS)
    assert (out / "model.safetensors").is_file()
    assert (out / "split.json").exists() == (tool == "LabelImg")
    with caplog.at_level(logging.INFO):
        run("evaluate", out)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["class_names"] == list(CLASSES)
    assert metrics["num_images"] == (2 if tool == "LabelImg" else 3)
    assert metrics["num_objects"] == 2 * metrics["num_images"]
    if tool == "LabelImg":
        add_and_evaluate(folder, out, caplog)


def add_and_evaluate(folder: Path, out: Path, caplog) -> None:
    """Add images to a folder whose lists were drawn: the run goes on with its own."""
    tested = {row["image_id"] for row in json.loads((out / "detections/coco.json").read_text())}
    for path, _, xml in images(folder, "", 20, 100):
        path.with_suffix(".xml").write_text(xml)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        run("evaluate", out)
    again = json.loads((out / "detections/coco.json").read_text())
    assert {row["image_id"] for row in again} == tested
    assert json.loads((out / "metrics.json").read_text())["num_images"] == 2
    assert f"{out / 'split.json'}: the lists of this run are used" in caplog.text
    assert "20 images came after" in caplog.text
    (out / "model.safetensors").unlink()  # as if the training had not come to its end
    boxes_in = ("--proposals.folder", folder.parent / "boxes")
    run("train", "--data.root", folder, "--out", out, *boxes_in, *SETTINGS, "--resume")
    assert (out / "model.safetensors").is_file()
    run("report", out, "--out", out / "report.html")
