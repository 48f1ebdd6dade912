"""Ask a server with a tiny detector many things at once: nothing may be lost, nothing wrong.

python scripts/load_test.py [REQUESTS], from the root of a checkout with the extras serve and fast.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from detection.serving.service import answer_detections
from tests.serving import served
from tests.serving.load import count_wrong, load

requests = int(sys.argv[1]) if len(sys.argv) > 1 else 200
detectors = [served.detector(method) for method in ("sppnet", "rcnn")]
pictures = [served.picture(seed) for seed in range(10)]
expected = [
    [
        [
            json.loads(found.model_dump_json())
            for found in answer_detections(d.detect(image), d.class_names)
        ]
        for d in detectors
    ]
    for _, image in pictures
]
with served.listening(served.service("sppnet", "rcnn"), places=40) as address:
    outcome = load(address, lambda n: pictures[n % 10][0], requests)
wrong = count_wrong(outcome, lambda n: expected[n % 10])
print(outcome.format(wrong))
sys.exit(wrong > 0 or not all(outcome.answers))
