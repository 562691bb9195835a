import torch
from adapting import batch

from mtl import gather
from mtl.gather import gather_rows
from mtl.method import Totals, View


def as_process(monkeypatch, own, rows):
    """Gather as process `own` of those that hold `rows` (as many tensors as processes)."""
    most = max(map(len, rows))
    padded = [torch.cat([r.detach(), r.new_zeros(most - len(r), *r.shape[1:])]) for r in rows]
    sizes = [torch.tensor([len(r)]) for r in rows]
    monkeypatch.setattr(gather, "_all", lambda sent: sizes if sent.dtype == torch.long else padded)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: own)
    return gather_rows(rows[own], len(rows))


def test_rows_are_dealt_back_into_the_order_of_the_global_batch(monkeypatch):
    whole = torch.randn(8, 2)
    rows = [whole[rank::3] for rank in range(3)]
    for own in range(3):
        assert as_process(monkeypatch, own, rows).equal(whole)


def test_the_mean_of_the_gradients_is_that_of_the_whole(monkeypatch):
    whole = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    (whole.mean(0) ** 3).sum().backward()
    found = torch.zeros_like(whole)
    for own in range(2):
        rows = [whole.detach()[rank::2].clone().requires_grad_() for rank in range(2)]
        (as_process(monkeypatch, own, rows).mean(0) ** 3).sum().backward()
        assert rows[1 - own].grad is None
        found[own::2] = rows[own].grad / 2  # as DistributedDataParallel averages
    torch.testing.assert_close(found, whole.grad)


def test_a_process_may_have_no_row(monkeypatch):
    rows = [torch.ones(2, 3, requires_grad=True), torch.ones(0, 3, requires_grad=True)]
    found = as_process(monkeypatch, 1, rows)
    found.sum().backward()
    assert found.shape == (2, 3) and rows[1].grad.shape == (0, 3)


def test_a_view_leaves_out_what_has_no_weight():
    weights = torch.tensor([1.0, 0.0, 0.5])
    batches = {"speech": batch("speech", 3)._replace(weights=weights)}
    view = View("train", batches, {}, {}, {}, None, 0.0, Totals({"speech": 2}))
    values = torch.randn(3, 4)
    assert view.gather("speech", values).equal(values[[0, 2]])
    batches["speech"] = batches["speech"]._replace(weights=None)
    assert view.gather("speech", values).equal(values)
