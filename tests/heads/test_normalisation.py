import pytest
import torch

from detection.errors import DataError
from detection.heads.normalisation import Normaliser, fit_normaliser


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
