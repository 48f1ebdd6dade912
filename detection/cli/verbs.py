"""All verbs, in the order of the help.

A verb reads the options, imports what it needs and calls one function. Every import that costs time
happens inside it, so that ``--help`` is instant.
"""

from __future__ import annotations

from detection.cli.classifier_verbs import CLASSIFIER_VERBS
from detection.cli.data_verbs import DATA_VERBS
from detection.cli.detector_verbs import DETECTOR_VERBS
from detection.cli.export_verb import EXPORT_VERBS
from detection.cli.serve_verb import SERVE_VERBS
from detection.cli.verb import Verb
from detection.cli.weights_verb import WEIGHTS_VERBS

VERBS: dict[str, Verb] = {
    **DATA_VERBS,
    **DETECTOR_VERBS,
    **SERVE_VERBS,
    **EXPORT_VERBS,
    **CLASSIFIER_VERBS,
    **WEIGHTS_VERBS,
}
