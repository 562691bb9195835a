"""Warp: each setting does what it says, within its bounds."""

import numpy as np
import pytest
import torch

from mtl.data.warp import Warp


def test_a_warp_moves_turns_scales_and_mirrors():
    spot = torch.zeros(1, 24, 48, dtype=torch.uint8)
    spot[0, 11:13, 34:38] = 200  # right of the middle, and wide
    rows, columns = torch.arange(24.0)[:, None], torch.arange(48.0)
    drawn = {}
    for name, warp in {
        "shift": Warp(shift=0.1),
        "turn": Warp(degrees=45),
        "scale": Warp(scale=0.3),
        "mirror": Warp(mirror=True),
    }.items():
        images = [warp(spot, "a", epoch)[0].float() for epoch in range(40)]
        places = [
            (float((i * rows).sum() / i.sum()), float((i * columns).sum() / i.sum()))
            for i in images
        ]
        drawn[name] = np.array(places) - (11.5, 23.5)  # from the middle
    assert 1.5 < np.abs(drawn["shift"][:, 0]).max() < 2.5  # a tenth of the height
    assert 3.8 < np.abs(drawn["shift"][:, 1] - 12).max() < 5.0  # a tenth of the width
    np.testing.assert_allclose(np.hypot(*drawn["turn"].T), 12, atol=0.5)  # a circle: no shear
    assert 6 < np.abs(drawn["turn"][:, 0]).max() < 9
    assert 8.3 < drawn["scale"][:, 1].min() < 10 and 14 < drawn["scale"][:, 1].max() < 15.8
    assert set(drawn["mirror"][:, 1].round(3)) == {12.0, -12.0}


def test_the_edge_is_repeated_behind_a_warp():
    white = torch.full((3, 9, 7), 255, dtype=torch.uint8)
    assert torch.equal(Warp(shift=0.3, degrees=45, scale=0.4)(white, "a", 0), white)


def test_an_impossible_scale_is_named():
    with pytest.raises(ValueError, match=r"scale is 1\.0; give a fraction"):
        Warp(scale=1.0)
