import copy

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

import mtl
from mtl import Model, Task, predict
from mtl.data.images import Images, from_arrays
from mtl.data.speech import Speech
from mtl.delta import save, take
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.languages import Transcript
from mtl.load import Inputs, Label, Loaded, takes_images
from mtl.stems.frames import Frames
from mtl.stems.logmel import LogMel
from mtl.stems.patches import Patches
from mtl.stems.waveform import Waveform
from mtl.trunks.transformer import Transformer
from mtl.tune.lhuc import lhuc

HZ = 16000
SOUND = np.random.default_rng(0).uniform(-0.5, 0.5, HZ // 2).astype(np.float32)
PIXELS = np.random.default_rng(1).integers(0, 256, (10, 12, 3), dtype=np.uint8)


def build(*tasks, **stems):
    torch.manual_seed(0)
    stems = stems or {"speech": LogMel(16, bins=20)}
    return Model(stems, Transformer(16, 1, heads=2, expansion=1), [Task(*task) for task in tasks])


def always(model, task, index):
    with torch.no_grad():
        output = model.head(task).output
        output.weight.zero_()
        output.bias.copy_(20.0 * (torch.arange(len(output.bias)) == index))


@pytest.fixture(scope="module")
def languages():
    """Hears Welsh, and writes "a" in Dutch and "b" in Welsh."""
    classes = Classify(["nl", "cy", "xx"])
    tasks = [("nl", "speech", CTC(["a", "b"])), ("cy", "speech", CTC(["a", "b"]))]
    model = build(*tasks, ("language", "speech", classes))
    for task, index in (("nl", 1), ("cy", 2), ("language", 1)):
        always(model, task, index)
    return Loaded(model)


@pytest.fixture(scope="module")
def pictures():
    return Loaded(build(("sign", "images", Classify(["x", "y", "z"])), images=Patches(3, 8, 4, 16)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("inputs")
    soundfile.write(path / "a.wav", SOUND, HZ, subtype="FLOAT")
    soundfile.write(path / "slow.flac", SOUND[:3000], 8000)
    Image.fromarray(PIXELS).save(path / "p.png")
    (path / "notes.wav").write_text("no sound")
    return path


def test_a_saved_model_is_loaded_by_folder_or_id(tmp_path, folder, languages, monkeypatch):
    languages.model.save_pretrained(tmp_path / "m")
    recognise = mtl.load(tmp_path / "m")
    assert recognise(folder / "a.wav") == languages(str(folder / "a.wav"))
    asked = []
    fetch = lambda name, **options: asked.append((name, options["revision"])) or tmp_path / "m"  # noqa: E731
    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert mtl.load("anna/m", revision="v2")(folder / "a.wav").text == "b"
    assert asked == [("anna/m", "v2")]


def test_a_sound_becomes_the_text_of_its_language(folder, languages):
    told = languages(folder / "a.wav")
    assert isinstance(told, Transcript)
    assert (told.text, told.lang) == ("b", "cy")
    assert {lang: written.value for lang, written in told.texts.items()} == {"nl": "a", "cy": "b"}
    assert told.confidence == told.texts["cy"].confidence
    given = languages(folder / "a.wav", lang="nl")
    assert (given.text, given.lang, list(given.texts)) == ("a", "nl", ["nl"])


def test_files_arrays_and_tensors_are_the_same_sound(folder):
    heard = Loaded(build(("cy", "speech", CTC(["a", "b"]))))
    one = heard(folder / "a.wav")
    for given in (SOUND, torch.from_numpy(SOUND), SOUND.astype(np.float64)):
        assert heard(given, HZ).confidence == pytest.approx(one.confidence, rel=1e-6)
    whole = heard((SOUND * 32767).round().astype(np.int16), HZ)
    assert whole.confidence == pytest.approx(one.confidence, abs=1e-3)
    samples, hz = soundfile.read(folder / "slow.flac", dtype="float32")
    slow = heard(folder / "slow.flac")
    assert heard(samples, hz).confidence == pytest.approx(slow.confidence, rel=1e-6)
    assert heard(samples, HZ).confidence != pytest.approx(slow.confidence, rel=1e-3)


def test_bytes_are_silent_in_the_middle():
    data = Inputs([np.array([0, 64, 128, 192], np.uint8)], LogMel(16), HZ)
    assert data._samples(data._raw[0]).tolist() == [-1, -0.5, 0, 0.5]


def test_channels_are_mixed_down():
    heard = Loaded(build(("cy", "speech", CTC(["a", "b"]))))
    other = np.roll(SOUND, 1000)
    mixed = heard((SOUND + other) / 2, HZ).confidence
    for given in (np.stack([SOUND, other], 1), torch.from_numpy(np.stack([SOUND, other]))):
        assert heard(given, HZ).confidence == pytest.approx(mixed, rel=1e-6)
        assert Inputs([given], LogMel(16), HZ).lengths == [0.5]
    with pytest.raises(
        ValueError, match=r"an array of \(8000, 9\): give samples \(N,\) or .* frames"
    ):
        heard(np.stack([SOUND] * 9, 1), HZ)


def test_lists_give_lists_in_order_whatever_the_batch(folder, languages):
    given = [folder / "slow.flac", folder / "a.wav", folder / "slow.flac"]
    heard = Loaded(build(("cy", "speech", CTC(["a", "b"]))))
    together = heard(given)
    for batch in (0.1, 60.0):
        for one, path in zip(heard(given, batch=batch), given, strict=True):
            assert one.confidence == pytest.approx(heard(path).confidence, abs=2e-4)
    assert together[0].confidence != pytest.approx(together[1].confidence, abs=2e-4)
    assert heard([]) == []
    assert [told.text for told in languages((SOUND, SOUND), HZ)] == ["b", "b"]


def test_it_is_what_predict_gives(folder, tmp_path):
    from mtl.data.manifest import read_manifest, write_manifest

    model = build(("cy", "speech", CTC(["a", "b"])))
    rows = [{"audio_filepath": str(folder / name), "text": "a"} for name in ("a.wav", "slow.flac")]
    write_manifest(tmp_path / "m.jsonl", rows)
    answers = predict(model, Speech(read_manifest(tmp_path / "m.jsonl"), model), "speech")
    heard = Loaded(model)([folder / "a.wav", folder / "slow.flac"])
    assert [told.texts for told in heard] == [answer.predictions for answer in answers]


def test_an_image_becomes_a_label(folder, pictures):
    seen = pictures(folder / "p.png")
    assert isinstance(seen, Label) and seen.label in "xyz" and 1 / 3 < seen.confidence <= 1
    assert seen.labels == {"sign": (seen.label, seen.confidence)}
    for given in (PIXELS, torch.from_numpy(PIXELS).permute(2, 0, 1), Image.fromarray(PIXELS)):
        assert pictures(given).confidence == pytest.approx(seen.confidence, rel=1e-6)
    assert pictures(PIXELS / np.float32(255)).confidence == pytest.approx(seen.confidence, rel=1e-5)
    data = Images(from_arrays(PIXELS[None], ["x"], "made"), pictures.model)
    (answer,) = predict(pictures.model, data, "images")
    assert answer.predictions == seen.labels
    assert [one.label for one in pictures([PIXELS, folder / "p.png"])] == [seen.label] * 2


def test_a_model_that_writes_nothing_gives_labels(folder):
    heard = Loaded(build(("speaker", "speech", Classify(["anna", "ben"]))))(folder / "a.wav")
    assert isinstance(heard, Label) and heard.label in ("anna", "ben")


def test_a_model_is_loaded_for_a_speaker(tmp_path, folder):
    base = build(("cy", "speech", CTC(["a", "b"])))
    base.save_pretrained(tmp_path / "run" / "model")
    base = Model.from_pretrained(tmp_path / "run" / "model")
    adapted = copy.deepcopy(base)
    lhuc(adapted, size=3)
    with torch.no_grad():
        adapted.get_parameter("trunk.after.b1.lhuc.a")[1:] = torch.randn(2, 16)
    for member, name in enumerate(("anna", "ben"), 1):
        save(
            take(adapted, base, name, member), tmp_path / "run" / ("speakers", "others")[member - 1]
        )
    plain = mtl.load(tmp_path / "run" / "model")
    anna = mtl.load(tmp_path / "run" / "model", speaker="anna")
    ben = mtl.load(tmp_path / "run" / "model", speaker="ben", speakers=tmp_path / "run" / "others")
    for loaded, member in ((plain, 0), (anna, 1), (ben, 2)):
        expected = Loaded(adapted, member)([folder / "a.wav", folder / "slow.flac"])
        heard = loaded([folder / "a.wav", folder / "slow.flac"])
        assert [told.text for told in heard] == [told.text for told in expected]
        sure = [told.confidence for told in expected]
        assert [told.confidence for told in heard] == pytest.approx(sure, rel=1e-5)
    assert (
        len({round(loaded(folder / "a.wav").confidence, 4) for loaded in (plain, anna, ben)}) == 3
    )
    with pytest.raises(FileNotFoundError, match=r"no delta 'ben' in .*speakers; it has: anna"):
        mtl.load(tmp_path / "run" / "model", speaker="ben")
    with pytest.raises(ValueError, match="speakers 'x': name the speaker as well"):
        mtl.load(tmp_path / "run" / "model", speakers="x")


def test_precomputed_frames(tmp_path):
    frames = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    np.save(tmp_path / "f.npy", frames)
    heard = Loaded(build(("cy", "speech", CTC(["a"])), speech=Frames(5, 16)))
    assert heard(tmp_path / "f.npy") == heard(frames)
    with pytest.raises(ValueError, match=r"input 0: frames of shape \(30, 4\); expected \(T, 5\)"):
        heard(frames[:, :4])


def test_several_streams_are_told_apart(folder):
    tasks = [("cy", "speech", CTC(["a"])), ("sign", "images", Classify(["x"]))]
    both = Loaded(build(*tasks, speech=LogMel(16, bins=20), images=Patches(3, 8, 4, 16)))
    with pytest.raises(ValueError, match="give stream: this model has tasks on speech, images"):
        both(folder / "a.wav")
    assert isinstance(both(folder / "a.wav", stream="speech"), Transcript)
    assert both(folder / "p.png", stream="images").label == "x"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("none.wav", r"none.wav: no such file"),
        (".", r": is a folder; name the files in it"),
        ("notes.wav", r"notes.wav: cannot be read as audio"),
        ("p.png", r"p.png: cannot be read as audio"),
        (SOUND[:0], r"an array of \(0,\): give samples \(N,\)"),
        (np.stack([SOUND, SOUND])[None], r"an array of \(1, 2, 8000\): give samples \(N,\)"),
        (np.array([0.1, np.nan], np.float32), "input 0: samples that are NaN or infinite"),
        ({"a": 1}, r"dict \{'a': 1\} is neither a file nor an array"),
    ],
    ids=str,
)
def test_what_is_no_sound_is_refused(given, says, folder, languages):
    given = folder / given if isinstance(given, str) else given
    with pytest.raises(ValueError, match=says):
        languages(given, HZ)


def test_what_is_no_image_is_refused(folder, pictures):
    with pytest.raises(ValueError, match=r"a.wav is damaged or not an image"):
        pictures(folder / "a.wav")
    with pytest.raises(ValueError, match=r"input 0: pixels \(4, 10, 12\)"):
        pictures(torch.zeros(4, 10, 12))


def test_a_rate_and_a_language_must_be_known(folder, languages):
    for hz in (0, -1, "a", 16000.5):
        with pytest.raises(ValueError, match=rf"hz is {hz!r}; give the sample rate, a whole"):
            languages(SOUND, hz)
    with pytest.raises(ValueError, match="batch is 0; give the seconds"):
        languages(SOUND, HZ, batch=0)
    with pytest.raises(ValueError, match=r"give samples .* and their rate, hz"):
        languages(SOUND)
    with pytest.raises(ValueError, match="language 'fr' is not known; this model has: nl, cy"):
        languages(SOUND, HZ, lang="fr")
    lost = Loaded(languages.model)
    always(lost.model, "language", 2)
    try:
        with pytest.raises(
            ValueError, match=r"a.wav: sounds like 'xx', not written here; give lang"
        ):
            lost(folder / "a.wav")
    finally:
        always(lost.model, "language", 1)
    with pytest.raises(ValueError, match="no stream 'images'"):
        languages(SOUND, HZ, stream="images")


def test_stems_say_what_they_take():
    assert takes_images(Patches(1, 8, 4, 16))
    assert not any(map(takes_images, (LogMel(8), Frames(5, 8), Waveform(normalise=True))))
    fixed = Waveform()
    fixed.fixed_seconds = 30.0
    assert Inputs([SOUND], fixed, HZ).seconds.tolist() == [30.0]
    assert Inputs([SOUND], fixed, HZ).lengths == [0.5]
