import math

import pytest
import torch

from mtl.score.aps import aps


def test_twice_the_noise_is_a_quarter_of_the_precision():
    assert aps(torch.tensor([2.0, 1.0])).tolist() == pytest.approx([0.2, 0.8])
    values = torch.tensor([0.3, 0.7, math.inf]).double()
    torch.testing.assert_close(aps(10 * values), aps(values))
    assert aps(torch.tensor([math.inf, math.inf])).isnan().all()
    with pytest.raises(ValueError, match=r"deviations \[0.0, 1.0\]; all must be above 0"):
        aps(torch.tensor([0.0, 1.0]))
