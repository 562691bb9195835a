"""Predictions of other decoders than the heads' own."""

import pytest
import toy

from mtl.evaluate import evaluate
from mtl.head import Prediction
from mtl.predict import predict


class Shouts:
    """Says the same of every example, and keeps what it was given."""

    def __init__(self):
        self.seen = []

    def __call__(self, scores):
        self.seen.append(scores)
        return [Prediction("AB", 0.25)] * len(scores.x)


def test_a_decoder_takes_the_place_of_one_head():
    model, data, decoder = toy.model(), toy.Spelled(), Shouts()
    plain = predict(model, data, "speech", batch=4.0)
    found = predict(model, data, "speech", batch=4.0, decoders={"cy": decoder})
    assert [answer.id for answer in found] == data.ids
    for one, other in zip(plain, found, strict=True):
        assert other.predictions["cy"] == ("AB", 0.25)
        assert other.predictions["nl"] == one.predictions["nl"]
        assert other.predictions["language"].value == one.predictions["language"].value
    assert len(decoder.seen) > 1
    assert sum(len(scores.x) for scores in decoder.seen) == len(data)
    assert all(scores.x.shape[2] == 4 and scores.lengths is not None for scores in decoder.seen)


def test_a_decoder_of_no_task_is_refused():
    with pytest.raises(ValueError, match="no task 'fr'; this model has: nl, cy"):
        predict(toy.model(), toy.Spelled(), "speech", decoders={"fr": Shouts()})


def test_an_evaluation_is_of_what_the_decoder_says():
    model, data = toy.model(), toy.Spelled()
    plain = evaluate(model, {"speech": data})
    found = evaluate(model, {"speech": data}, decoders={"cy": Shouts()})
    assert {row.prediction for row in found.of("cy")} == {"AB"}
    assert {row.confidence for row in found.of("cy")} == {0.25}
    assert found.tasks()["cy"]["cer"] == 1.0
    assert found.tasks()["nl"] == plain.tasks()["nl"]


def test_a_beam_search_is_a_decoder():
    pytest.importorskip("flashlight.lib.text.decoder", reason="needs the extra lm")
    from mtl.decode.beam import Beam, Search

    model, data = toy.model(), toy.Spelled()
    decoders = {name: Beam(model.head(name), Search(beam=5)) for name in ("nl", "cy")}
    found = evaluate(model, {"speech": data}, decoders=decoders)
    assert {row.task for row in found.rows} == {"nl", "cy", "language"}
    for row in found.of("nl"):
        assert set(row.prediction) <= set("ab") and 0 <= row.confidence <= 1
