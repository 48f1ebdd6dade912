import torch

from detection.heads.normalisation import Normaliser
from detection.heads.scorer import SoftmaxScorer, SvmScorer
from detection.heads.svm import Svms


def test_a_scorer_gives_the_svms_scores_of_the_scaled_features_and_leaves_them_alone():
    random = torch.Generator().manual_seed(0)
    svms = Svms(weight=torch.randn(3, 8, generator=random), bias=torch.tensor([1.0, -2.0, 0.5]))
    features = torch.randn(5, 8, generator=random)
    before = features.clone()
    scores = SvmScorer(normaliser=Normaliser(factor=0.05), svms=svms).score(features)
    torch.testing.assert_close(scores, svms.score(0.05 * features))
    assert torch.equal(features, before)


def test_a_yes_is_a_margin_above_zero_or_a_probability_above_a_half():
    assert SvmScorer.decision_threshold == 0.0
    assert SoftmaxScorer.decision_threshold == 0.5
