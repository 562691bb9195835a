import pytest
import torch

from mtl.score.gain import gain


def test_the_mean_is_delta_m():
    """By the formula of Maninis et al. 2019, whose l is 1 where lower is better."""
    joint, single = [0.3, 0.9, 12.0], [0.4, 0.8, 10.0]
    lower = [1, 0, 1]
    terms = [(-1) ** k * (m - b) / b for m, b, k in zip(joint, single, lower, strict=True)]
    found = gain(torch.tensor(joint).double(), torch.tensor(single).double(), ["min", "max", "min"])
    assert found.tolist() == pytest.approx(terms)
    assert found.mean().item() == pytest.approx(sum(terms) / 3)
    assert [value > 0 for value in found.tolist()] == [True, True, False]


def test_nothing_to_gain_and_everything_to_lose():
    assert gain(torch.tensor([0.0, 0.1, 0.0]), torch.tensor([0.0, 0.0, 0.2])).tolist() == [
        0.0,
        -torch.inf,
        1.0,
    ]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"joint \(2,\), single \(3,\).*give \(T,\) figures"):
        gain(torch.zeros(2), torch.zeros(3))
    with pytest.raises(ValueError, match=r"directions \['up'\].*'min' or 'max'"):
        gain(torch.zeros(1), torch.zeros(1), ["up"])
