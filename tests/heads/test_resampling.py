import pytest
import torch

from detection.heads.resampling import resample_grid


def test_a_pyramid_of_the_grid_itself_keeps_the_weights():
    weight = torch.randn(5, 3 * 49, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(resample_grid(weight, 3, [7]), weight)


@pytest.mark.parametrize("levels", [[1], [2], [6, 3, 2, 1], [7, 4], [9]])
def test_a_constant_map_gives_the_same_fc6_from_every_pyramid(levels):
    weight = torch.randn(5, 3 * 49, generator=torch.Generator().manual_seed(0)).double()
    cells = torch.rand(3, generator=torch.Generator().manual_seed(1)).double()
    expected = weight @ cells.repeat_interleave(49)
    pyramid = torch.cat([cells.repeat_interleave(level**2) for level in levels])
    torch.testing.assert_close(resample_grid(weight, 3, levels) @ pyramid, expected)


def test_a_bin_has_the_weights_of_the_cells_that_it_covers():
    """Two bins on three cells: each takes one and half of the middle one."""
    weight = torch.arange(9.0)[None]
    a, b, c = [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    top = [a[i] + b[i] / 2 for i in range(3)]
    low = [c[i] + b[i] / 2 for i in range(3)]
    expected = [top[0] + top[1] / 2, top[2] + top[1] / 2, low[0] + low[1] / 2, low[2] + low[1] / 2]
    assert resample_grid(weight, 1, [2])[0].tolist() == expected
    assert resample_grid(weight, 1, [2, 1])[0].tolist() == [*(v / 2 for v in expected), 18]
