import re

from detection.data.dataset import read_dataset
from detection.proposals.store import ProposalStore
from detection.structures import Proposals
from tests.report.fake_runs import make_run
from tests.report.pages import make_report


def test_missing_proposals_name_the_command_that_adds_them(both):
    _, page = both
    assert "What the proposals cover is left out: the proposals of these images" in page.words
    assert "detection propose adds it" in page.words


def test_stored_proposals_are_shown_with_what_they_cover(data, tmp_path):
    dataset = read_dataset(data, "test")
    config = make_run(tmp_path / "run", "rcnn", data=data, store=str(tmp_path / "store"))
    store = ProposalStore(tmp_path / "store", config.proposals)
    for record in dataset.records:
        every = Proposals(image_id=record.image_id, boxes=record.truth.boxes)
        store.save(record, every)
    _, page = make_report([tmp_path / "run"], tmp_path / "r.html", images_each=0)
    assert "What the proposals cover No detector finds" in page.words
    most = max(len(record.truth.boxes) for record in dataset.records)
    assert most < 100
    assert re.search(r"boxes per image IoU 0.5 IoU 0.7 all \(\d+\) 100.0 100.0", page.words)
