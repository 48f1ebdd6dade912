import torch

from detection.features.power import power_normalize


def test_power_normalisation_keeps_signs():
    values = torch.tensor([[-4.0, 0.0, 9.0]])
    assert power_normalize(values, 1.0) is values
    assert power_normalize(values, 0.5).tolist() == [[-2, 0, 3]]
    assert power_normalize(values, 2.0).tolist() == [[-16, 0, 81]]
