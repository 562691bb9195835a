"""What all methods of domain adaptation promise, in the contract's training loop."""

import pytest
import torch
from adapting import METHODS, SIDES, batch, net, run, stepped, viewed
from test_contract import build
from toy import assert_same_weights

from mtl.batch import Labels
from mtl.domains import Aligning
from mtl.methods.coral import CORAL, coral
from mtl.methods.ddc import DDC, ddc
from mtl.ops import masked_mean
from mtl.step import Step

ALIGNING = ("ddc", "dan", "coral", "cmd")


class Untouchable(dict):
    """Labels that may not even be looked at."""

    def refuse(self, *args):
        raise AssertionError("target labels must not leak")

    get = __getitem__ = items = values = __iter__ = __contains__ = refuse


def losses(name, batches, phase="train"):
    torch.manual_seed(0)
    return viewed(Step(net(), {"method": METHODS[name]()}).train(), batches, phase)[1]


@pytest.mark.parametrize("name", METHODS)
def test_target_labels_are_never_used(name):
    batches = {"speech": batch("speech", 6), "target": batch("target", 9)}
    labels = {"language": Labels(torch.zeros(9, dtype=torch.long))}
    labelled = batches | {"target": batches["target"]._replace(labels=labels)}
    wanted = losses(name, batches)
    assert wanted and losses(name, labelled) == wanted
    method = METHODS[name]()
    step = Step(net(), {"method": method}).train()
    view = viewed(step, batches)[0]
    view.batches["target"] = batches["target"]._replace(labels=Untouchable(language=1))
    assert set(method.terms(view)) == set(wanted)


@pytest.mark.parametrize("name", METHODS)
def test_padding_and_spares_change_nothing(name):
    batches = {"speech": batch("speech", 6), "target": batch("target", 5)}
    wanted = losses(name, batches)
    x = batches["target"].inputs
    longer = torch.cat([x, torch.full_like(x[:, :5], 9.0)], 1)
    padded = batches | {"target": batches["target"]._replace(inputs=longer)}
    spare = batches | {
        "target": batch("target", 7)._replace(weights=torch.tensor([1.0] * 5 + [0.0] * 2))
    }
    for other in (padded, spare):
        found = losses(name, other)
        assert set(found) == set(wanted)
        for term, value in wanted.items():
            torch.testing.assert_close(found[term], value, msg=term)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_every_method_trains_and_reports(name, precision):
    fitted = run(METHODS[name], steps=3, precision=precision)
    reported = fitted.history[-1]["loss"]
    assert any(term.startswith("method/") for term in reported)
    assert not fitted.skipped
    with pytest.raises(AssertionError):
        assert_same_weights(fitted.model, build())


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_of_one_example_is_no_obstacle(name):
    assert run(METHODS[name], {"speech": 1.0, "target": 1.0}, steps=3).steps == 3


@pytest.mark.parametrize("name", METHODS)
def test_another_phase_has_no_terms(name):
    assert losses(name, {n: batch(n, 4) for n in ("speech", "target")}, "discriminate") == {}


@pytest.mark.parametrize("name", ["dann", "sdt"])
def test_parts_of_a_batch_add_up_to_the_whole(name):
    whole, parted = (run(METHODS[name], accumulate=count).model for count in (1, 2))
    for (key, a), b in zip(whole.state_dict().items(), parted.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4, msg=key)


@pytest.mark.parametrize("name", ALIGNING)
def test_training_brings_the_domains_together(name):
    """By the method's own measure, on fresh features, against training without it."""
    far = []
    for weight in (0.0, 30.0):
        method = METHODS[name]()
        method.weight = weight
        model = run(lambda method=method: method, steps=12, lr=1e-2).model
        judge = METHODS[name]()
        judge.weight = 1.0
        far.append(sum(stepped(model, judge, speech=12, target=10)[2].values()).item())
    assert far[1] < 0.7 * far[0]


def means(view, stream):
    f = view.features[stream]
    return masked_mean(f.x, f.lengths)


def test_every_source_is_compared_with_every_target():
    method = DDC(["speech", "second"], ["target", "third"], weight=0.5)
    model = net(second="speech", third="speech")
    _, view, terms = stepped(model, method, speech=3, second=4, target=5, third=2)
    pairs = [(s, t) for s in ("speech", "second") for t in ("target", "third")]
    wanted = sum(ddc(means(view, s), means(view, t)) for s, t in pairs) / 4
    torch.testing.assert_close(terms, {"output": 0.5 * wanted})


def test_blocks_and_scores_are_compared_each_for_itself():
    method = CORAL(**SIDES, at=["", "b1"], scores=["language", "nl"])
    _, view, terms = stepped(net(), method, speech=5, target=4)
    assert list(terms) == ["output", "b1", "language scores", "nl scores"]
    assert method.taps == ("b1",)
    tapped = [masked_mean(f.taps["b1"].x, f.taps["b1"].lengths) for f in pair(view)]
    torch.testing.assert_close(terms["b1"], coral(*tapped))
    classes = [view.model.scores("language", f).x for f in pair(view)]
    torch.testing.assert_close(terms["language scores"], coral(*classes))
    spelled = [view.model.scores("nl", f) for f in pair(view)]
    frames = [masked_mean(scores.x, scores.lengths) for scores in spelled]
    torch.testing.assert_close(terms["nl scores"], coral(*frames))


def pair(view):
    return [view.features[name] for name in ("speech", "target")]


def test_pictures_are_compared_too():
    model = net(photos="images")
    _, view, terms = stepped(model, CORAL("images", "photos"), images=4, photos=3)
    torch.testing.assert_close(terms["output"], coral(means(view, "images"), means(view, "photos")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"at": ()}, "nothing to compare: name blocks in `at`, or tasks in `scores`"),
        ({"weight": -1.0}, "weight is -1.0; it may not be below 0"),
        ({**SIDES, "at": "b7"}, r"no block \['b7'\]"),
        ({**SIDES, "scores": ["fy"]}, "no task 'fy'; this model has: nl, cy"),
        ({}, "source stream 'source' is none of this model, which has: speech, images, target"),
    ],
)
def test_wrong_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Aligning(**arguments).build(build())
