import pytest
import torch

from detection.errors import DataError
from detection.heads.normalisation import Normaliser, fit_normaliser
from detection.heads.scorer import SvmScorer
from detection.heads.svm import Svms


def test_mean_norm_becomes_the_target():
    features = torch.rand(50, 30, generator=torch.Generator().manual_seed(0))
    normaliser = fit_normaliser(features.norm(dim=1), target=20.0)
    assert normaliser.scale(features).norm(dim=1).mean().item() == pytest.approx(20.0, rel=1e-5)


def test_factor_is_target_over_mean_norm():
    assert fit_normaliser(torch.tensor([10.0, 30.0, 50.0]), 15.0).factor == pytest.approx(15 / 30)


def test_scaling_nothing_gives_nothing():
    assert Normaliser(factor=3.0).scale(torch.zeros(0, 5)).shape == (0, 5)


@pytest.mark.parametrize(
    "norms",
    [torch.zeros(0), torch.zeros(3), torch.tensor([1.0, torch.nan]), torch.tensor([torch.inf])],
)
def test_norms_without_a_positive_mean_are_refused(norms):
    with pytest.raises(DataError, match="expected a positive finite mean"):
        fit_normaliser(norms)


def test_a_scorer_gives_the_svms_scores_of_the_scaled_features_and_leaves_them_alone():
    random = torch.Generator().manual_seed(0)
    svms = Svms(weight=torch.randn(3, 8, generator=random), bias=torch.tensor([1.0, -2.0, 0.5]))
    features = torch.randn(5, 8, generator=random)
    before = features.clone()
    scores = SvmScorer(normaliser=Normaliser(factor=0.05), svms=svms).score(features)
    torch.testing.assert_close(scores, svms.score(0.05 * features))
    assert torch.equal(features, before)
