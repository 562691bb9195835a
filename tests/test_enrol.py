"""A word learnt from one example, in tones of `talking`."""

import pytest
import torch
from talking import HZ, Ear, Same, noise, spoken

from mtl import Model, Task
from mtl.enrol import enrol, exemplar, exemplar_task, recognise
from mtl.heads.classify import Classify
from mtl.heads.matching import Matching
from mtl.heads.prototype import Prototype
from mtl.load import Inputs


def build(*more):
    ear = Ear()
    tasks = [Task("other", "speech", Classify(["a", "b"])), Task("word", "speech", Prototype())]
    return Model({"speech": ear}, Same(ear.dim), [*tasks, *more])


def said(model, *words, seed=0, level=0.5):
    sounds = [
        spoken(word, level=level) + noise(len(word) / 10, seed=seed + n)
        for n, word in enumerate(words)
    ]
    return Inputs(sounds, model.stem("speech"), HZ)


def examples(data):
    return [data.example(index) for index in range(len(data))]


def test_one_example_is_enough():
    model = build()
    for name, sound in (("lumos", "abc"), ("nox", "defg"), ("accio", "gab")):
        enrol(model, "word", name, said(model, sound))
    found = recognise(model, "word", examples(said(model, "defg", "cab", "gaba", seed=9)))
    assert [one.name for one in found] == ["nox", "lumos", "accio"]
    head = exemplar(model, "word")
    x = torch.stack([e.input.mean(0) for e in examples(said(model, "abc", "defg", "gab"))])
    y = torch.stack([e.input.mean(0) for e in examples(said(model, "defg", "cab", "gaba", seed=9))])
    distances = (y[:, None] - x[None]).square().sum(-1)
    torch.testing.assert_close(head.support, x, atol=1e-3, rtol=0)
    assert [one.fit for one in found] == pytest.approx((-distances.amin(1)).tolist(), abs=1e-3)
    shares = (-distances).softmax(1).amax(1).tolist()
    assert [one.confidence for one in found] == pytest.approx(shares, abs=1e-3)


def test_several_examples_are_averaged_and_a_head_may_read_a_block():
    model = build()
    data = said(model, "abc", "abd", "a")
    enrol(model, "word", "lumos", data)
    means = torch.stack([example.input.mean(0) for example in examples(data)])
    torch.testing.assert_close(exemplar(model, "word").support, means.mean(0, keepdim=True))


def test_what_cannot_be_taught_is_named():
    model = build()
    with pytest.raises(ValueError, match="class 'x' has no example"):
        enrol(model, "word", "x", said(model))
    with pytest.raises(ValueError, match="task 'other' has a Classify head, which learns no class"):
        enrol(model, "other", "x", said(model, "a"))
    with pytest.raises(ValueError, match="no task 'nothing'"):
        exemplar_task(model, "nothing")
    assert exemplar_task(model) == "word"
    with pytest.raises(ValueError, match="this model has several: word, more; name one"):
        exemplar_task(build(Task("more", "speech", Matching())))
    ear = Ear()
    bare = Model({"speech": ear}, Same(ear.dim), [Task("other", "speech", Classify(["a"]))])
    with pytest.raises(ValueError, match=r"by examples \(prototype, .* this model has none"):
        exemplar_task(bare)
