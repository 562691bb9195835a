import torch
from test_contract import DIM

from mtl.batch import Batch
from mtl.head import Task
from mtl.heads.attention import Attention
from mtl.heads.ctc import CTC
from mtl.joint import decide, judge
from mtl.languages import choose, writers
from mtl.model import Model
from mtl.registry import describe
from mtl.stems.frames import Frames
from mtl.trunks.transformer import Transformer

BINS = 6


def build(at=None, label="nl", like=None):
    torch.manual_seed(0)
    nl, cy = CTC(["a", "b"]), CTC(["a", "c"])
    beside = Attention(describe(like or nl), heads=2, depth=1)
    tasks = [Task("nl", "speech", nl), Task("cy", "speech", cy)]
    tasks += [Task("nl-b1", "speech", "nl", at="b1", label="nl", auxiliary=True)]
    tasks += [Task("nl-attention", "speech", beside, at=at, label=label, auxiliary=True)]
    return Model({"speech": Frames(BINS, DIM)}, Transformer(DIM, 2, 2, 2), tasks).eval()


def test_a_judge_learns_the_same_label_at_the_same_block_in_the_same_symbols():
    assert judge(build(), "nl") == "nl-attention" and judge(build(), "cy") is None
    for wrong in ({"at": "b1"}, {"label": "cy"}, {"like": CTC(["b", "a"])}):
        assert judge(build(**wrong), "nl") is None
    assert judge(build(at="b1"), "nl-b1") == "nl-attention"


def test_one_task_writes_each_language():
    model = build()
    assert writers(model) == {"nl": "nl", "cy": "cy"} and choose(model, "nl").tasks() == ["nl"]


@torch.no_grad()
def test_both_heads_are_asked_of_the_same_frames():
    model = build()
    for parameter in model.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    x = torch.randn(3, 12, BINS)
    f = model("speech", Batch(x, torch.tensor([12, 8, 2])))
    ctc, head = model.scores("nl", f), model.head("nl-attention")
    found = {weight: decide(model, "nl", f, ctc, weight=weight) for weight in (0.0, 0.3, 1.0)}
    for weight, said in found.items():
        assert said == head.joint(head.scores(f), ctc, weight)
    assert found[0.0] != found[1.0], "else this test says nothing"
    assert decide(model, "nl", f, ctc, more=[[[1, 2]]] * 3)
    cy = model.scores("cy", f)
    assert decide(model, "cy", f, cy) == model.head("cy").predict(cy), "it has no judge"
