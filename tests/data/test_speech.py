import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from spoken import HZ, build, manifest, rows, stem, two_languages

from mtl.data.augment import Augment
from mtl.data.cache import Cache
from mtl.data.speech import Speech, too_short
from mtl.head import Task
from mtl.heads.ctc import CTC
from mtl.loading import load_parts
from mtl.stems.frames import Frames
from mtl.stems.logmel import LogMel
from mtl.stream import Parts, Stream

STRONG = Augment(time_masks=2, bin_masks=1, bins=4, speeds=(0.9, 1.1), noise_db=(5.0, 20.0))


def cuts(folder):
    lines = [
        {"audio_filepath": "long.flac", "offset": 0.0, "duration": 0.7, "text": "ab", "lang": "nl"},
        {"audio_filepath": "long.flac", "offset": 0.7, "duration": 0.7, "text": "ba", "lang": "nl"},
    ]
    return manifest(folder, lines, "cuts.jsonl")


def test_an_example_holds_frames_labels_groups_and_weight(sounds):
    utterances = manifest(sounds, rows((1, {"weight": 0.5, "text": "Bad, dwa!"})))
    data = Speech(
        utterances, two_languages(), groups={"speaker": {f"s{n}": n + 4 for n in range(4)}}
    )
    example = data.example(1)
    samples, _ = soundfile.read(sounds / "1.wav", dtype="float32")
    assert example.input.equal(stem().prepare(torch.from_numpy(samples)))
    assert set(example.labels) == {"cy", "language"}
    assert example.labels["cy"].tolist() == [3, 2, 4, 1, 4, 5, 2]
    assert example.labels["language"].item() == 1
    assert (example.weight, example.groups, example.id) == (0.5, {"speaker": 5}, "1")
    assert data.example(1, targets=False).labels == {}
    assert data.seconds.tolist() == pytest.approx([0.5, 0.6, 0.8, 1.0])
    assert (len(data), data.ids, data.column("lang")) == (4, list("0123"), ["nl", "cy"] * 2)


def test_raw_labels_carry_every_name(sounds):
    utterances = manifest(sounds, rows((0, {"phonemes": "A b", "label": 7})))
    data = Speech(utterances, two_languages())
    assert data.labels(0) == {
        "language": "nl", "speaker": "s0", "text": "aba", "nl": "aba",
        "phonemes": "A b", "nl-phonemes": "A b", "label": 7,
    }  # fmt: skip
    assert data.labels(1) == {"language": "cy", "speaker": "s1", "text": "bad da", "cy": "bad da"}


def test_cuts_of_a_recording_are_read_as_cuts_also_the_first(sounds):
    data = Speech(cuts(sounds), two_languages())
    samples, _ = soundfile.read(sounds / "long.flac", dtype="float32")
    for index, start in enumerate((0, int(0.7 * HZ))):
        part = torch.from_numpy(samples[start : start + int(0.7 * HZ)])
        assert data.example(index).input.equal(stem().prepare(part))


def test_a_rounded_duration_does_not_cut(sounds):
    utterances = manifest(sounds, rows((3, {"duration": 0.98})))
    whole = Speech(manifest(sounds, rows()), two_languages()).example(3)
    assert Speech(utterances, two_languages()).example(3).input.equal(whole.input)


def test_features_serve_in_the_place_of_sound(tmp_path):
    frames = np.random.default_rng(0).standard_normal((40, 5)).astype(np.float32)
    np.savez(tmp_path / "train.npz", one=frames)
    utterances = manifest(tmp_path, [{"feature_key": "one", "text": "ab", "lang": "nl"}])
    model = build(Task("nl", "speech", CTC(["a", "b"])), ear=Frames(5, 8, normalise=False))
    for cache in (None, Cache(), Cache(folder=tmp_path / "cache")):
        data = Speech(utterances, model, cache=cache, augment=STRONG)
        assert data.example(0).input.equal(torch.from_numpy(frames))
        lengths = {len(data.example(0, draw=draw).input) for draw in range(8)}
        assert lengths == {36, 44}, "stretched by 1.1 and by 0.9"
    np.savez(tmp_path / "train.npz", one=frames + 1)
    assert data.example(0).input.equal(torch.from_numpy(frames) + 1), "no stale features"


def test_augmentation_depends_on_seed_example_and_epoch_only(sounds):
    def inputs(draw, order=(0, 1, 2, 3), **settings):
        augment = Augment(**{**STRONG.__dict__, **settings})
        data = Speech(manifest(sounds, rows()), two_languages(), augment=augment)
        return {index: data.example(index, draw).input for index in order}

    first, other_order = inputs(0), inputs(0, (3, 1, 2, 0))
    assert all(first[index].equal(other_order[index]) for index in range(4))
    for changed in (inputs(1), inputs(0, seed=1)):
        assert all(
            first[i].shape != changed[i].shape or not first[i].equal(changed[i]) for i in range(4)
        )
    repeated = inputs(4, draws=4)
    assert all(first[index].equal(repeated[index]) for index in range(4))
    plain = Speech(manifest(sounds, rows()), two_languages())
    augmented = Speech(manifest(sounds, rows()), two_languages(), augment=STRONG)
    assert plain.example(2).input.equal(augmented.example(2).input), "no draw, no augmentation"
    assert plain.example(2, draw=1).input.equal(plain.example(2).input)


@pytest.mark.parametrize("disk", [False, True])
def test_a_cache_changes_nothing_but_the_rounding(disk, sounds, tmp_path, monkeypatch):
    quiet = Augment(**{**STRONG.__dict__, "noise_db": None})
    cache = Cache(folder=tmp_path if disk else None)
    utterances = manifest(sounds, rows()) + cuts(sounds)
    cached = Speech(utterances, two_languages(), augment=quiet, cache=cache)
    plain = Speech(utterances, two_languages(), augment=quiet)
    for draw in (None, 0, 1):
        for index in range(6):
            one, two = plain.example(index, draw), cached.example(index, draw)
            torch.testing.assert_close(one.input, two.input, rtol=1e-3, atol=1e-3)
            assert cached.example(index, draw).input.equal(two.input)
    monkeypatch.setattr("mtl.data.speech.read_audio", None)
    again = Speech(utterances, two_languages(), augment=quiet, cache=cache)
    assert again.example(3, 1).input.equal(cached.example(3, 1).input)


def test_noise_is_fresh_in_every_epoch_whatever_the_cache_holds(sounds):
    data = Speech(manifest(sounds, rows()), two_languages(), augment=STRONG, cache=Cache())
    plain = Speech(manifest(sounds, rows()), two_languages(), augment=STRONG)
    for draw in range(3):
        assert data.example(0, draw).input.equal(plain.example(0, draw).input)


@pytest.mark.parametrize("disk", [False, True])
def test_models_with_other_settings_may_share_a_cache(disk, sounds, tmp_path):
    cache, utterances = Cache(folder=tmp_path if disk else None), manifest(sounds, rows())
    wide = build(Task("nl", "speech", CTC(list("abde"))), ear=LogMel(8, hz=HZ, bins=20))
    shapes = [
        Speech(utterances, net, cache=cache).example(0).input.shape
        for net in (two_languages(), wide)
    ]
    assert [shape[1] for shape in shapes] == [16, 20]


def test_a_cache_on_disk_notices_a_changed_sound(sounds, tmp_path):
    line = [{**rows()[0], "audio_filepath": str(tmp_path / "a.wav"), "duration": 0.5}]
    results = []
    for gain in (0.1, 0.2):
        tone = np.sin(gain * np.arange(HZ // 2))
        soundfile.write(tmp_path / "a.wav", tone, HZ)
        for _ in range(2):
            cache = Cache(folder=tmp_path / "cache")
            data = Speech(manifest(tmp_path, line), two_languages(), cache=cache)
            results.append(data.example(0).input)
    assert results[0].equal(results[1]) and results[2].equal(results[3])
    assert not results[0].equal(results[2])


def corrupt(path):
    path.write_bytes(b"RIFF nothing of the kind")


def truncated(path):
    path.write_bytes(path.read_bytes()[:3000])


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (corrupt, "cannot be read as audio"),
        (truncated, "is truncated"),
        (Path.unlink, "[Nn]o such file"),
    ],
)
def test_a_bad_file_is_named_by_its_manifest_line(spoil, words, cached, sounds, tmp_path):
    for name in "01":
        (tmp_path / f"{name}.wav").write_bytes((sounds / f"{name}.wav").read_bytes())
    utterances = manifest(tmp_path, rows()[:2], "dev.jsonl")
    spoil(tmp_path / "1.wav")
    cache = Cache(folder=tmp_path / "cache") if cached else None
    data = Speech(utterances, two_languages(), cache=cache)
    assert len(data.example(0).input) == 51
    with pytest.raises(ValueError, match=rf"^dev.jsonl:2 \(1\): .*1.wav: .*{words}"):
        data.example(1)


def test_labels_that_cannot_be_learnt_are_named_by_their_line(sounds):
    changes = [(0, {"text": "xyz"}), (1, {"text": "ab" * 20}), (2, {"lang": "fy"})]
    data = Speech(manifest(sounds, rows(*changes)), two_languages())
    with pytest.raises(ValueError, match=r"^train.jsonl:1 \(0\): .*outside the vocabulary.*'x'"):
        data.example(0)
    with pytest.raises(
        ValueError, match=r"^train.jsonl:2 \(1\): 40 symbols .* but 16 frames: too short"
    ):
        data.example(1)
    with pytest.raises(ValueError, match=r"^train.jsonl:3 \(2\): class 'fy' is not known"):
        data.example(2)
    assert data.example(1, targets=False).labels == {}, "what cannot be learnt can be recognised"


def test_a_speaker_without_a_number_is_named(sounds):
    data = Speech(manifest(sounds, rows()), two_languages(), groups={"speaker": {"s0": 0}})
    assert data.example(0).groups == {"speaker": 0}
    with pytest.raises(ValueError, match=r"train.jsonl:2 \(1\): speaker 's1' has no number"):
        data.example(1)


def test_other_speakers_have_the_number_of_the_empty_name(sounds):
    groups = {"speaker": {"": 0, "s1": 1}, "lang": {"cy": 2, "nl": 3}}
    data = Speech(manifest(sounds, rows()), two_languages(), groups=groups)
    found = [data.example(index).groups for index in range(3)]
    assert found == [
        {"speaker": 0, "lang": 3}, {"speaker": 1, "lang": 2}, {"speaker": 0, "lang": 3},
    ]  # fmt: skip


def test_speakers_are_unnamed_in_training_only(sounds):
    groups = {"speaker": {"": 0, "s0": 1}}
    speech = [manifest(sounds, rows()), two_languages()]
    data = Speech(*speech, groups=groups, augment=Augment(nobody=0.5))
    drawn = [data.example(0, draw).groups["speaker"] for draw in range(12)]
    expected = [Augment(nobody=0.5).unname({"s": 1}, "0", draw)["s"] for draw in range(12)]
    assert drawn == expected and set(drawn) == {0, 1}
    assert data.example(0).groups == {"speaker": 1}
    assert Speech(*speech, groups=groups).example(0, 3).groups == {"speaker": 1}


def test_heads_that_disagree_on_a_label_are_not_mixed_up(sounds):
    def example(*heads):
        tasks = [Task(f"t{n}", "speech", head, label="text") for n, head in enumerate(heads)]
        return Speech(manifest(sounds, rows()), build(*tasks)).example(0)

    assert example(CTC(list("ab")), CTC(list("ab"), upsample=2)).labels["text"].tolist() == [
        1,
        2,
        1,
    ]
    with pytest.raises(ValueError, match="two heads encode label 'text' differently"):
        example(CTC(list("ab")), CTC(list("ba")))


def test_too_short_counts_repeats_and_the_rate_of_the_model():
    model = two_languages()
    label = torch.tensor([2, 2, 3])  # a blank must part the first two: four frames
    assert too_short(model, "nl", label, 13) == ""
    assert too_short(model, "nl", label, 12) == (
        "4 symbols (with repeats) but 3 frames: too short for CTC"
    )
    assert too_short(model, "language", torch.tensor(1), 1) == ""


@pytest.fixture
def two_threads():
    """More than a worker has: resampling rounds differently in each number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("disk", [False, True])
def test_workers_load_the_same(disk, two_threads, sounds, tmp_path):
    cache = Cache(folder=tmp_path) if disk else None
    utterances = manifest(sounds, rows()) + cuts(sounds)
    data = Speech(utterances, two_languages(), augment=STRONG, cache=cache)
    parts = Parts({"speech": Stream(data, 2.0)}, 0)
    for one, two in zip(load_parts(parts, 0, 6), load_parts(parts, 0, 6, workers=2), strict=True):
        assert one.batches["speech"].ids == two.batches["speech"].ids
        assert one.batches["speech"].inputs.equal(two.batches["speech"].inputs)


def test_speech_can_be_sent_to_other_processes(sounds):
    """Workers are forked on Linux, but macOS and newer Pythons pickle what they get."""
    data = Speech(manifest(sounds, rows()), two_languages(), augment=STRONG, cache=Cache())
    sent = pickle.loads(pickle.dumps(data))
    assert sent.example(1, 2).input.equal(data.example(1, 2).input)


def test_settings_tell_data_sets_apart(sounds):
    utterances = manifest(sounds, rows())
    plain = Speech(utterances, two_languages())
    assert plain.settings == Speech(utterances, two_languages()).settings
    wide = build(ear=LogMel(8, hz=HZ, bins=20))
    for other in (
        Speech(utterances, two_languages(), augment=STRONG),
        Speech(utterances, two_languages(), augment=Augment(nobody=0.5)),
        Speech(utterances, two_languages(), groups={"speaker": {"": 0}}),
        Speech(utterances, two_languages(), cache=Cache()),
        Speech(utterances, wide),
    ):
        assert other.settings != plain.settings
