"""shift: who sees which labels, where methods look, and what is refused."""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mtl.data.images import from_arrays
from mtl.data.manifest import Utterance
from mtl.data.pixels import read_pixels
from mtl.methods.coral import CORAL
from mtl.methods.dan import DAN
from mtl.methods.dann import DANN
from mtl.ops import square
from mtl.problem import Pictures, Recordings
from mtl.shift import (
    SOURCE,
    SOURCE_ONLY,
    TARGET,
    TARGET_ONLY,
    TASK,
    adapting,
    methods,
    paired,
    read_shift,
    unlabelled,
    weights_of,
)
from mtl.stream import Parts
from mtl.translating import networks_of


def pictures(count, name, classes=2, colour=False):
    size = (count, 12, 12, 3) if colour else (count, 12, 12)
    x = np.random.default_rng(len(name)).integers(0, 256, size, np.uint8)
    return from_arrays(x, np.arange(count) % classes, name)


def said(name, label, text="een"):
    given = ("nl", "anna", 0.5, Path(f"{name}.wav"), 0.0, None, None)
    return Utterance(name, text, *given, label, "e n", 1.0, 1, Path("m.jsonl"))


@pytest.fixture
def shift():
    source = Pictures(pictures(8, "s"), pictures(4, "st"))
    return paired(source, Pictures(pictures(6, "t", colour=True), pictures(4, "tt", colour=True)))


@pytest.fixture
def model(shift):
    torch.manual_seed(0)
    return shift.network("lenet")


def labels_of(streams, name):
    parts = Parts(streams, 0, 0, 1)
    return parts[0, 0].batches[name].labels


def test_adapted_networks_get_a_target_without_labels(shift, model):
    for arm in methods():
        streams = shift.streams(model, arm, 4, 0)
        assert list(streams) == [SOURCE, TARGET]
        assert labels_of(streams, TARGET) == {} and list(labels_of(streams, SOURCE)) == ["label"]
        assert all(streams[TARGET].data.labels(index) == {} for index in range(6))
        assert {i.split(":")[0] for i in streams[TARGET].data.ids} == {"t"}, "no test example"


def test_the_other_arms_have_one_stream_and_the_same_network(shift, model):
    for arm, name in ((SOURCE_ONLY, "s"), (TARGET_ONLY, "t")):
        streams = shift.streams(model, arm, 4, 0)
        assert list(streams) == [SOURCE] and "label" in labels_of(streams, SOURCE)
        assert {i.split(":")[0] for i in streams[SOURCE].data.ids} == {name}
    assert model.stem(SOURCE) is model.stem(TARGET) and model.stem(SOURCE).channels == 3
    assert [task.stream for task in model.tasks.values()] == [SOURCE]
    assert shift.network("resnet").trunk.widths == [32, 64, 128]


def test_all_that_could_be_learnt_is_taken_off():
    (bare,) = unlabelled([said("a", "7")])
    assert (bare.label, bare.text, bare.phonemes) == (None, "", None)
    assert (bare.audio, bare.seconds) == (Path("a.wav"), 0.5)
    (picture,) = unlabelled([replace(pictures(1, "p")[0], labels={"age": 3.0})])
    assert picture.known() == {}


def test_speech_learns_labels_as_texts_and_not_what_is_said():
    train = [said(f"a{n}", n % 2) for n in range(4)]
    source = Recordings([*train, said("x", None)], [said("b", 0)])
    shift = paired(source, Recordings(train, [said("c", 1)]))
    assert shift.classes == ["0", "1"]
    assert {u.text for side in (shift.source, shift.target) for u in side.train} == {""}
    assert "speech: left out 1 lines without a label" in shift.notes
    model = shift.network("lenet")
    assert type(model.trunk).__name__ == "Conformer"
    streams = shift.streams(model, "dann", 2, 0)
    assert streams[SOURCE].batch == 1.0, "two utterances of half a second"


@pytest.fixture
def heard_at(monkeypatch):
    """Utterances whose files say that they have the sample rate which is in their name."""

    @contextmanager
    def opened(path):
        yield SimpleNamespace(hz=int(path.stem))

    monkeypatch.setattr("mtl.shift.open_audio", opened)
    return lambda *rates: Recordings(
        [said(str(hz), n) for n, hz in enumerate(rates)], [said("8", 0)]
    )


def test_both_domains_are_heard_at_the_lower_rate(heard_at):
    for rates, hz, bins in (((44100, 16000), 16000, 80), ((22050, 8000), 8000, 40)):
        sides = heard_at(16000, 48000), heard_at(*rates)
        for source, target in (sides, sides[::-1]):
            stem = paired(source, target).network("lenet").stem(SOURCE)
            assert (stem.hz, stem.bins) == (hz, bins)


def test_a_picture_that_cannot_be_read_does_not_decide_the_channels():
    grey, colour = pictures(3, "s"), pictures(3, "t", colour=True)
    damaged = replace(colour[0], source=b"garbage")
    whole = paired(Pictures(grey, grey), Pictures([damaged, *colour[1:]], colour))
    for shift in (whole, whole.small()):
        assert shift.network("lenet").stem(SOURCE).channels == 3
    none = paired(Pictures(grey, grey), Pictures([damaged], grey))
    with pytest.raises(ValueError, match="no picture can be read: the image is damaged"):
        none.network("lenet")


def test_small_networks_keep_small_pictures(shift, monkeypatch):
    small, reads = shift.small(), []
    read = read_pixels
    monkeypatch.setattr("mtl.shift.read_pixels", lambda source: reads.append(1) or read(source))
    picture, whole = small.target.train[0], shift.target.train[0]
    assert (picture.id, picture.label) == (
        whole.id,
        whole.label,
    ) and picture.known() == whole.known()
    first, again = read_pixels(picture.source), read_pixels(picture.source)
    assert first.shape == (3, 28, 28) and first.dtype == torch.uint8 and torch.equal(first, again)
    assert len(reads) == 1, "it is kept"
    wanted = square(read_pixels(whole.source), 3, 28) * 255
    assert (first - wanted).abs().max() <= 0.5
    assert read_pixels(small.source.test[0].source).shape == (1, 28, 28), "grey stays grey"


def test_a_trunk_from_elsewhere_sees_whole_pictures(shift):
    model = shift.network("torchvision:shufflenet_v2_x0_5")
    assert type(model.trunk).__name__ == "TorchVision" and model.head(TASK).classes == ["0", "1"]
    assert shift.target.data(model, shift.target.train[:1], stream=TARGET).example(
        0
    ).input.shape == (
        3,
        224,
        224,
    )


def test_methods_look_where_their_papers_do():
    blocks = ["b1", "b2", "b3"]
    made = {name: adapting(name, blocks) for name in methods()}
    comparing, painting = (
        {"ddc", "dan", "coral", "cmd", "dann", "dsn", "sdt"},
        {"pixelda", "unit", "munit"},
    )
    assert set(made) == comparing | painting
    assert all((m.source, m.target) == ((SOURCE,), (TARGET,)) for m in made.values())
    assert made["dann"].at == "b1" and made["dan"].at == ("b2", "b3")
    assert adapting("dann", [f"b{n}" for n in range(8)]).at == "b5", "behind the third from the end"
    assert (adapting("dann", ["b1", "b2"]).at, adapting("dan", ["b1"]).at) == ("b1", ("b1",))
    assert made["dan"].scores == made["coral"].scores == ("label",) and made["coral"].at == ()
    assert made["ddc"].at == made["cmd"].at == ("",)
    assert [type(made[n]) for n in ("dann", "dan", "coral")] == [DANN, DAN, CORAL]
    assert made["dsn"].at == "b2", "where half of the layers are still to come"
    assert adapting("coral", blocks, 7.0).weight == 7.0 and made["ddc"].weight == 0.25
    with pytest.raises(ValueError, match="'l2sp' adapts to no domain; choose from cmd, coral, "):
        adapting("l2sp", blocks)


def test_networks_have_the_sizes_that_are_asked_for():
    sizes = networks_of("width=8, lr=0.01")
    asked, own = adapting("unit", ["b1"], networks=sizes), adapting("unit", ["b1"])
    assert asked.networks == own.networks._replace(width=8, lr=0.01) != own.networks
    assert adapting("pixelda", ["b1"]).networks.width == 32
    assert type(adapting("dann", ["b1"], networks=sizes)) is DANN, "it has none"
    assert networks_of("") == {}
    for text in ("width", "width=1.5", "size=3", "lr=x"):
        with pytest.raises(ValueError, match="write width=64; there are: width, depth, fold, lr"):
            networks_of(text)


def test_strengths_are_read():
    arms = ["dan", "cmd", "ddc"]
    assert weights_of("", arms) == {}
    assert weights_of("dan=1,cmd=.5", arms) == {"dan": 1.0, "cmd": 0.5}
    for text, message in {
        "dan": "'dan': write METHOD=WEIGHT",
        "dann=1": "'dann=1': 'dann' is none of the methods: dan, cmd, ddc",
        "dan=nan": "'dan=nan': a weight is a finite number",
    }.items():
        with pytest.raises(ValueError, match=message):
            weights_of(text, arms)


def test_domains_that_do_not_fit_are_refused(tmp_path):
    two, three = (Pictures(pictures(6, "p", n), pictures(3, "q", n)) for n in (2, 3))
    with pytest.raises(ValueError, match="the target has class '2', which the source lacks"):
        paired(two, three)
    assert paired(three, two).classes == ["0", "1", "2"], "the other way round it may"
    odd = Pictures(two.train, three.test)
    with pytest.raises(ValueError, match="the target has class '2', which the source lacks"):
        paired(two, odd)
    with pytest.raises(ValueError, match="the source has class '2' only to test on; drop it"):
        paired(odd, two)
    heard = Recordings([said("a", 0), said("b", 1)], [said("c", 0)])
    with pytest.raises(ValueError, match="one domain is pictures, the other speech"):
        paired(two, heard)
    for parts, message in {
        (None, 0): "no training line of the target has a label; give each its class",
        (0, None): "no test line of the target has a label",
    }.items():
        with pytest.raises(ValueError, match=message):
            paired(heard, Recordings([said("a", parts[0])], [said("c", parts[1])]))
    with pytest.raises(ValueError, match="--source and --target belong together"):
        read_shift([tmp_path], [], [], 5)


def test_npz_files_keep_their_own_parts(tmp_path):
    for name, count in (("a", 6), ("b", 4)):
        x = np.zeros((count, 8, 8), np.uint8)
        y = np.arange(count) % 2
        np.savez(tmp_path / f"{name}.npz", x_train=x, y_train=y, x_test=x[:3], y_test=y[:3])
    shift = read_shift([tmp_path / "a.npz"], [tmp_path / "b.npz"], [], 2)
    sizes = [len(part) for side in shift[:2] for part in (side.train, side.test)]
    assert sizes == [6, 2, 4, 2]
