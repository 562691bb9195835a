import math

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity

from mtl.score.conflict import conflict, share


def test_cosines_are_those_of_scikit_learn():
    rows = torch.randn(5, 40, generator=torch.Generator().manual_seed(0)).double()
    found = conflict(rows @ rows.T)
    np.testing.assert_allclose(found, cosine_similarity(rows), atol=1e-12)
    assert conflict(rows.float() @ rows.float().T).dtype == torch.float64


def test_scale_changes_nothing_however_small():
    rows = torch.randn(3, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sizes = torch.tensor([1e-120, 1.0, 1e150], dtype=torch.float64)[:, None]
    torch.testing.assert_close(
        conflict((sizes * rows) @ (sizes * rows).T), conflict(rows @ rows.T), atol=1e-12, rtol=0
    )


def test_a_gradient_of_zero_has_no_direction():
    rows = torch.tensor([[1.0, 0.0], [0.0, 0.0], [-2.0, 0.0]])
    found = conflict(rows @ rows.T)
    assert found[1].isnan().all() and found[:, 1].isnan().all()
    assert found[0, 2] == -1 and found[0, 0] == 1


def test_share_counts_each_pair_once():
    assert share(torch.tensor([[1.0, -0.2, 0.3], [-0.2, 1.0, -0.1], [0.3, -0.1, 1.0]])) == 2 / 3
    assert math.isnan(share(torch.full((3, 3), torch.nan))) and math.isnan(share(torch.ones(1, 1)))
    assert share(torch.zeros(2, 2)) == 0, "gradients at right angles do not conflict"


@pytest.mark.parametrize("call", [conflict, share])
def test_other_shapes_are_refused(call):
    with pytest.raises(ValueError, match=r"has shape \(2, 3\); give \(T, T\)"):
        call(torch.zeros(2, 3))
