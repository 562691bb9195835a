import pytest
import torch

from mtl.score.afs import afs


def test_shares_are_taken_unit_by_unit():
    fisher = torch.rand(3, 5, generator=torch.Generator().manual_seed(0))
    expected = [
        sum(fisher[k, m].item() / sum(fisher[j, m].item() for j in range(3)) for m in range(5)) / 5
        for k in range(3)
    ]
    assert afs(fisher).tolist() == pytest.approx(expected)
    assert float(afs(fisher).sum()) == pytest.approx(1)
    torch.testing.assert_close(afs(1e-30 * fisher.double()), afs(fisher.double()))


def test_units_without_information_do_not_count():
    assert afs(torch.tensor([[0.0, 1.0], [0.0, 3.0]])).tolist() == [0.25, 0.75]
    assert afs(torch.zeros(2, 2)).isnan().all()
    with pytest.raises(ValueError, match=r"shape \(3,\); give \(K columns, M units\)"):
        afs(torch.zeros(3))
