import pytest
import torch

from mtl.score.affinity import affinity


def test_each_loss_is_compared_with_itself():
    before = torch.tensor([2.0, 0.5, 4.0])
    after = torch.tensor([[1.0, 0.5, 5.0], [2.0, 0.25, 3.0], [3.0, 1.0, 0.0]])
    expected = [[1 - after[i, j].item() / before[j].item() for j in range(3)] for i in range(3)]
    assert affinity(before, after).tolist() == expected


def test_a_small_step_gains_the_product_of_the_gradients():
    """To first order, Z[i, j] = rate <g_i, g_j> / L_j."""
    g = torch.Generator().manual_seed(0)
    x, a = torch.randn(6, generator=g).double(), torch.randn(4, 6, generator=g).double()
    gradients = 2 * (x - a)
    before, rate = (x - a).square().sum(1), 1e-6
    after = torch.stack([(x - rate * step - a).square().sum(1) for step in gradients])
    expected = rate * gradients @ gradients.T / before
    torch.testing.assert_close(affinity(before, after), expected, atol=0, rtol=1e-4)


def test_more_is_better_for_negative_losses_and_nothing_is_said_of_zero():
    found = affinity(torch.tensor([-2.0, 0.0]), torch.tensor([[-3.0, 1.0], [-1.0, 0.0]]))
    assert found[:, 0].tolist() == [0.5, -0.5]
    assert found[:, 1].isnan().all()


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(2,\) and \(3, 2\); give \(T,\) and \(T, T\)"):
        affinity(torch.zeros(2), torch.zeros(3, 2))
