"""contrived: embedded domains, and the two controls against a count by hand."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from test_shift import pictures, said

from mtl.problem import Pictures, Recordings
from mtl.shift import paired
from mtl.studies.contrived import controlled, heard, spoken, written


def test_embedded_domains_share_no_digit():
    shift = written(most=50)
    parts = [shift.source.train, shift.source.test, shift.target.train, shift.target.test]
    plain = [{p.id.partition("~")[0] for p in part} for part in parts]
    assert len(set().union(*plain)) == sum(map(len, plain))
    assert len(parts[1]) == len(parts[3]) == 50 and min(map(len, parts[::2])) > 500
    assert parts[0][0].source.ndim == 2 and parts[2][0].source.shape == (28, 28, 3)
    assert shift.classes == list("0123456789")
    assert [p.id for p in written(most=50).target.test] == [p.id for p in parts[3]]


def test_embedded_speech_comes_through_the_channel(tmp_path, monkeypatch):
    monkeypatch.setenv("MTL_CACHE", str(tmp_path))
    shift = spoken("telephone", most=9, small=True)
    assert shift.classes == list("0123456789")
    sizes = [len(part) for side in shift[:2] for part in (side.train, side.test)]
    assert sizes == [20, 9, 20, 9]
    homes = [
        {u.audio.parent.name for u in part} for part in (shift.source.train, shift.target.train)
    ]
    assert homes[0] == {"train"} and all("-train-telephone-0" in name for name in homes[1])
    power = []
    for side in (shift.source, shift.target):
        samples = np.concatenate([soundfile.read(u.audio)[0] for u in side.train])
        spectrum = np.abs(np.fft.rfft(samples)) ** 2
        power.append(spectrum[len(spectrum) // 2 :].sum() / spectrum.sum())  # above 4 kHz
    assert power[1] < 0.01 * power[0]


def test_without_colours_or_channel_nothing_shifts(tmp_path, monkeypatch):
    coloured, plain = written(most=50), written(most=50, coloured=False)
    assert [p.id for p in plain.target.train] == [
        p.id.partition("~")[0] for p in coloured.target.train
    ]
    assert plain.target.train[0].source.ndim == 2
    monkeypatch.setenv("MTL_CACHE", str(tmp_path))
    homes = {u.audio.parent.name for u in spoken("", most=9, small=True).target.train}
    assert homes == {"train"}


def test_synthetic_voices_teach_what_manifests_test(tmp_path, monkeypatch):
    made = spoken("", most=9, small=True).source
    monkeypatch.setattr("mtl.studies.contrived._voices", lambda channel, seed, small: made)
    monkeypatch.setattr(
        "mtl.studies.contrived.read_problem",
        lambda target, test: Recordings([said("a", 7)], [said(*test, 3)]),
    )
    shift = heard(["t"], ["q"], most=5)
    assert shift.classes == list("0123456789") and len(shift.source.test) == 5
    assert [u.label for u in (*shift.target.train, *shift.target.test)] == ["7", "3"]


@pytest.fixture(params=["pictures", "speech"])
def shift(request):
    def side(name):
        if request.param == "pictures":
            return Pictures(pictures(60, name, 4), pictures(44, f"{name}t", 4))
        parts = [[said(f"{name}{n}", n % 4, text="") for n in range(count)] for count in (60, 44)]
        return Recordings(*parts, ["a note"])

    return paired(side("s"), side("t"))


def test_the_concept_moves_every_class_on(shift):
    found = controlled(shift, "concept")
    assert found.source is shift.source and type(found.target) is type(shift.target)
    for part in ("train", "test"):
        pairs = zip(getattr(shift.target, part), getattr(found.target, part), strict=True)
        for old, new in pairs:
            assert int(new.label) == (int(old.label) + 1) % 4
            assert new == replace(old, label=new.label) or new.source is old.source
    if isinstance(shift.target, Recordings):
        assert found.target.notes == shift.target.notes != []


def test_half_of_the_classes_become_rare(shift):
    found = controlled(shift, "labels").target
    counts = [Counter(str(item.label) for item in part) for part in (found.train, found.test)]
    assert counts[0] == {"0": 15, "1": 15, "2": 2, "3": 2}, "of 15 the first and the eleventh"
    assert counts[1] == {"0": 11, "1": 11, "2": 2, "3": 2}
    assert {item.id for item in found.train} < {item.id for item in shift.target.train}
