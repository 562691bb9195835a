"""likeness: what a judge that knows the target says of translations, against its own predictions."""

import base64
import io
import json

import numpy as np
import pytest
import torch
from painting import calm
from PIL import Image
from scipy.linalg import sqrtm
from test_shift import pictures

from mtl.likeness import likeness
from mtl.methods.dann import DANN
from mtl.predict import extract, predict
from mtl.problem import Pictures
from mtl.shift import SOURCE, paired

COUNT = 7


@pytest.fixture(scope="module")
def shift():
    source = Pictures(pictures(8, "s"), pictures(COUNT, "st"))
    target = Pictures(pictures(8, "t", colour=True), pictures(9, "tt", colour=True))
    return paired(source, target).small()


@pytest.fixture(scope="module")
def judge(shift):
    torch.manual_seed(3)
    return shift.network("resnet")


def painter(shift, translate=None):
    method = calm("pixelda")
    method.build(shift.network("resnet"))
    if translate:
        method.translate = translate
    return method


def asked(shift, judge, **more):
    return json.loads(
        json.dumps(likeness(shift, [painter(shift, **more)], lambda: judge, drawn=True))
    )


def test_pictures_that_stay_are_judged_as_in_any_test(shift, judge):
    """With a translation that changes nothing, all is what `predict` and `extract` say."""
    found = asked(shift, judge, translate=lambda x: x)
    side, features = shift.source, []
    for name, items in (("kept", shift.source.test), ("sure", shift.target.test)):
        data = side.data(judge, items, stream=SOURCE)
        said = [a.predictions["label"].value for a in predict(judge, data, SOURCE)]
        assert found[name] == pytest.approx(
            np.mean([s == i.label for s, i in zip(said, items, strict=True)])
        )
        features.append(extract(judge, data, SOURCE)[:COUNT].astype(np.float64))
    a, b = features
    roots = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * roots)
    assert found["nearer"] == pytest.approx([wanted] * 2, rel=1e-3, abs=1e-4)


def test_what_became_of_a_picture_is_judged_and_not_the_picture(shift, judge):
    other = torch.zeros(1, 3, 28, 28)
    found = asked(shift, judge, translate=lambda x: other.expand(len(x), -1, -1, -1))
    assert found["kept"] in (4 / COUNT, 3 / COUNT), "one class for all"
    assert found["nearer"][0] != found["nearer"][1]


def test_the_sheet_has_the_pictures_as_they_are_seen(shift, judge):
    rows = asked(shift, judge, translate=lambda x: -x)["sheet"]
    assert list(rows) == ["source", "translated", "target"]
    assert {len(row) for row in rows.values()} == {COUNT}
    read = {
        name: [np.asarray(Image.open(io.BytesIO(base64.b64decode(p)))).astype(int) for p in row]
        for name, row in rows.items()
    }
    first = shift.source.test[0].source()[..., 0]
    assert any(np.array_equal(p[..., 0], first) for p in read["source"])
    for a, b in zip(read["source"], read["translated"], strict=True):
        assert a.shape == (28, 28, 3) and abs(a + b - 255).max() <= 1
    assert likeness(shift, [painter(shift)], lambda: judge)["sheet"] == {}


def test_chance_is_the_same_each_time(shift, judge):
    method = painter(shift)
    method.draw = torch.randn_like
    first, again = (likeness(shift, [method], lambda: judge) for _ in range(2))
    assert first == again


def test_methods_that_do_not_translate_need_no_judge(shift):
    def refuse():
        raise AssertionError("it was trained for nothing")

    assert likeness(shift, [DANN()], refuse) == {} == likeness(shift, [], refuse)
