"""What a table is made of."""

from detection.reproduce.table import VOC_CLASSES, Row, Table


def test_the_columns_are_the_twenty_classes_of_voc():
    assert len(set(VOC_CLASSES)) == 20
    assert (VOC_CLASSES[0], VOC_CLASSES[10], VOC_CLASSES[-1]) == (
        "aeroplane",
        "diningtable",
        "tvmonitor",
    )


def test_a_combination_has_all_of_its_trainings():
    row = Row(name="both", training="a", others=("b", "c"))
    assert row.trainings == ("a", "b", "c")


def test_detectors_are_measured_by_precision_and_classifiers_by_error():
    table = Table(name="t", title="T", source="S", rows=())
    assert table.measure == "11-point mAP, %"
    classifiers = Table(name="t", title="T", source="S", rows=(), task="classification")
    assert classifiers.measure == "top-1 error, %"


def test_svms_on_whole_images_are_measured_by_precision_or_accuracy():
    images = Table(name="t", title="T", source="S", rows=(), task="images")
    assert (images.measure, images.spread) == ("11-point mAP over images, %", "95% interval")
    folders = Table(name="t", title="T", source="S", rows=(), task="folders")
    assert (folders.measure, folders.spread) == ("mean accuracy of the classes, %", "std. dev.")
