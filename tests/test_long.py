import tracemalloc

import numpy as np
import pytest
import soundfile
import talking
import torch
from talking import HZ, model, noise, text, times, write

from mtl.decode.align import Span
from mtl.decode.segment import Segment
from mtl.head import Prediction, Task
from mtl.heads.ctc import CTC
from mtl.heads.phoneme import Phoneme
from mtl.joined import Line
from mtl.languages import choose
from mtl.load import Inputs, Loaded
from mtl.long import transcribe

FRAME = talking.HOP / HZ


def hear(net, *files, lang="auto", speaker=0, **options):
    sounds = Inputs(list(files), net.stem("speech"), speaker=speaker)
    return list(transcribe(net, sounds, choose(net, lang), **options))


def assert_times(words, truth):
    assert [word.text for word in words] == [word for word, _, _ in truth]
    for word, (_, start, end) in zip(words, truth, strict=True):
        assert word.start == pytest.approx(start, abs=1.01 * FRAME)
        assert word.end == pytest.approx(end, abs=1.01 * FRAME)
        assert 0.5 < word.confidence <= 1


def test_the_toy_writes_what_is_said(tmp_path):
    said = text(20)
    write(tmp_path / "a.wav", [said])
    (told,) = hear(model(), tmp_path / "a.wav", timed=True)
    assert told.transcript.text == said
    assert_times(told.words, times(said))


@pytest.mark.parametrize("deaf", [False, True])
def test_speech_without_a_pause_is_joined_without_a_loss(tmp_path, deaf):
    """At every joint the deaf toy errs on both sides."""
    said = text(600)
    write(tmp_path / "a.wav", [1.0, said, 1.0])
    (told,) = hear(model(deaf), tmp_path / "a.wav", chunk=10.0, timed=True)
    found, truth = told.transcript.text, times(said, 1.0)
    if deaf:  # nobody hears the ends of the whole again
        inner = slice(3, -3)
        found, truth = " ".join(found.split()[inner]), truth[inner]
        assert_times(told.words[inner], truth)
    else:
        assert_times(told.words, truth)
    assert found == " ".join(word for word, _, _ in truth)
    assert told.transcript.text == " ".join(word.text for word in told.words)
    (plain,) = hear(model(deaf), tmp_path / "a.wav", chunk=10.0)
    assert plain.transcript == told.transcript and not plain.words


def test_pauses_part_and_words_keep_their_times(tmp_path):
    rng = np.random.default_rng(1)
    texts = [text(int(rng.integers(10, 60)), seed) for seed in range(12)]
    parts = [part for said in texts for part in (float(rng.uniform(0.4, 3)), said + " ")]
    starts = write(tmp_path / "a.wav", parts)
    for chunk in (4.0, 12.0):
        (told,) = hear(model(), tmp_path / "a.wav", chunk=chunk, timed=True)
        truth = [
            word for said, start in zip(texts, starts, strict=True) for word in times(said, start)
        ]
        assert told.transcript.text == " ".join(texts)
        assert_times(told.words, truth)


@pytest.mark.parametrize(
    ("name", "hz", "channels"), [("a.flac", 8000, 2), ("a.wav", 44100, 1), ("a.ogg", 16000, 2)]
)
def test_any_rate_and_any_number_of_channels(tmp_path, name, hz, channels):
    said = text(250)
    write(tmp_path / name, [said, 2.0, said], hz, channels)
    (told,) = hear(model(), tmp_path / name, chunk=5.0, timed=True)
    assert told.transcript.text == f"{said} {said}"
    assert_times(told.words, times(said) + times(said, talking.STEP * len(said) + 2))


def test_clipping_changes_nothing(tmp_path):
    said = text(150)
    loud = np.clip(5 * talking.spoken(said) + noise(talking.STEP * len(said)), -1, 1)
    soundfile.write(tmp_path / "a.wav", loud, HZ)
    net = model()
    with torch.no_grad():  # harmonics are heard as other tones: let the loudest win
        net.head("cy").output.bias[0] = 12
    (told,) = hear(net, tmp_path / "a.wav", chunk=5.0)
    (whole,) = hear(net, tmp_path / "a.wav", chunk=60.0)
    assert told.transcript.text == whole.transcript.text == said


@pytest.mark.parametrize("samples", [np.zeros(12 * HZ), noise(12.0, level=0.1)])
def test_silence_says_nothing(tmp_path, samples):
    soundfile.write(tmp_path / "a.wav", samples, HZ)
    for net, options, lang in (
        (model(), {}, "cy"),
        (model(languages=("cy", "nl")), {}, "und"),
        (model(languages=("cy", "nl")), {"lang": "nl"}, "nl"),
    ):
        (told,) = hear(net, tmp_path / "a.wav", chunk=5.0, timed=True, **options)
        assert told.transcript[:3] == ("", lang, 0) and not told.words and not told.problem
        assert told.seconds == 12


@pytest.mark.parametrize("seconds", [1, 12])
def test_heads_that_always_write_do_not_write_silence(tmp_path, seconds):
    net = model(languages=("cy", "nl"))
    with torch.no_grad():
        net.head("cy").output.bias[1] = 99
    soundfile.write(tmp_path / "a.wav", np.zeros(seconds * HZ), HZ)
    soundfile.write(tmp_path / "b.wav", noise(seconds), HZ)
    (silent,) = hear(net, tmp_path / "a.wav", chunk=5.0)
    assert silent.transcript[:3] == ("", "und", 0) and not silent.problem
    if seconds == 1:  # there is something to hear
        assert hear(net, tmp_path / "b.wav", chunk=5.0)[0].transcript.lang == "cy"


def test_a_file_shorter_than_a_frame(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(5), HZ)
    (told,) = hear(model(), tmp_path / "a.wav", timed=True)
    assert told.transcript.text == "" and not told.words


def test_several_files_come_in_order_and_problems_have_their_place(tmp_path):
    said = {name: text(80, seed) for seed, name in enumerate("acdf")}
    for name in "acdf":
        write(tmp_path / f"{name}.wav", [said[name]] if name == "c" else [said[name], 0.5] * 3)
    samples = soundfile.read(tmp_path / "a.wav")[0]
    samples[100000] = np.nan
    soundfile.write(tmp_path / "e.wav", samples, HZ, subtype="FLOAT")
    write(tmp_path / "b.flac", [said["a"]] * 3)
    whole = (tmp_path / "b.flac").read_bytes()
    (tmp_path / "b.flac").write_bytes(whole[: len(whole) // 2])
    files = [tmp_path / name for name in ("a.wav", "b.flac", "c.wav", "d.wav", "e.wav", "f.wav")]
    for batch in (5.0, 60.0):
        found = hear(model(), *files, chunk=9.0, batch=batch)
        assert [told.id for told in found] == [str(path) for path in files]
        texts = [told.transcript.text if told.transcript else None for told in found]
        long = {name: " ".join([said[name]] * 3) for name in "adf"}
        assert texts == [long["a"], None, said["c"], long["d"], None, long["f"]]
        assert "b.flac: " in found[1].problem and "copy it again" in found[1].problem
        assert "e.wav: holds samples that are NaN" in found[4].problem


def test_results_come_before_all_is_heard(tmp_path):
    for name in "ab":
        write(tmp_path / f"{name}.wav", [text(300)])
    sounds = Inputs(
        [tmp_path / "a.wav", tmp_path / "b.wav", tmp_path / "gone.wav"][:2], talking.Ear()
    )
    net = model()
    told = next(transcribe(net, sounds, choose(net), chunk=5.0, batch=5.0))
    (tmp_path / "b.wav").unlink()
    assert told.id.endswith("a.wav")


def test_the_language_is_told_once(tmp_path):
    """Short pieces of another language do not change that of the whole."""
    said = text(300)
    write(tmp_path / "a.wav", [said])
    net = model(languages=("cy", "nl"), says=1)
    (told,) = hear(net, tmp_path / "a.wav", chunk=5.0, timed=True)
    assert (told.transcript.text, told.transcript.lang) == (said.upper(), "nl")
    assert told.transcript.texts["cy"].value == said
    assert "".join(word.text for word in told.words) == said.upper().replace(" ", "")
    # "a" sounds Welsh, all else Dutch
    output = net.head("language").output
    with torch.no_grad():
        output.weight[0] = 40 * torch.eye(output.in_features)[2]
        output.bias.copy_(torch.tensor([0.0, 5.0, 0.0]))
    write(tmp_path / "b.wav", ["a" * 60, 1.0, "b" * 90, 1.0, "b" * 80])
    (told,) = hear(net, tmp_path / "b.wav", chunk=9.0)
    assert told.transcript.lang == "nl"
    write(tmp_path / "b.wav", ["a" * 90, 1.0, "b" * 40, 1.0, "a" * 30])
    (told,) = hear(net, tmp_path / "b.wav", chunk=9.0)
    assert told.transcript.lang == "cy"
    (told,) = hear(model(languages=("cy", "nl"), says=2), tmp_path / "a.wav", chunk=5.0)
    assert "a.wav: sounds like 'xx', not written here; give lang" in told.problem


def test_a_decoder_takes_the_place_of_the_head(tmp_path):
    """One that hears every "b" as "c"; its words are aligned to the scores."""
    said = text(300)
    write(tmp_path / "a.wav", [said])
    net = model()

    def decode(scores):
        return [
            Prediction(one.value.replace("b", "c"), 0.5) for one in net.head("cy").predict(scores)
        ]

    with pytest.raises(ValueError, match=r"no times for 'X.*', which a decoder wrote: .*'x'"):
        shout = {"cy": lambda scores: [Prediction("X", 0.5)] * len(scores.x)}
        hear(net, tmp_path / "a.wav", timed=True, decoders=shout)
    for chunk in (60.0, 5.0):
        (told,) = hear(net, tmp_path / "a.wav", chunk=chunk, timed=True, decoders={"cy": decode})
        assert told.transcript.text.split() == said.replace("b", "c").split()
        assert told.transcript.confidence == pytest.approx(0.5)
        starts = [word.start for word in told.words]
        assert starts == pytest.approx([start for _, start, _ in times(said)], abs=0.11)


def test_languages_without_spaces_are_joined_without(tmp_path):
    net = model()
    net.heads["cy"] = head = CTC(list("_abcdefg"))
    head.build(net.trunk.dim)
    with torch.no_grad():
        head.output.weight.copy_(40 * torch.eye(net.trunk.dim))
    write(tmp_path / "a.wav", ["abab", 2.0, "cdcd", 2.0, "abcdef" * 20])
    (told,) = hear(net, tmp_path / "a.wav", chunk=5.0, timed=True)
    assert told.transcript.text == "ababcdcd" + "abcdef" * 20
    assert told.space == ""


def test_phones_are_joined_as_their_head_writes_them():
    head = Phoneme([" ", "n", "eː"])
    ids = [2, 3, 1, 2, 3, 2, 1, 3, 2]
    spans = [Span(symbol, t, t + 0.5, 1.0) for t, symbol in enumerate(ids)]
    line = Line(head, timed=True)
    line.add(Segment(0.0, 7.0), Prediction(spans[:7], 0.5))
    line.add(
        Segment(4.0, 5.0, 3.0),
        Prediction([s._replace(start=s.start - 4, end=s.end - 4) for s in spans[4:]], 0.5),
    )
    line.add(Segment(20.0, 2.0), Prediction(spans[:2], 0.5))
    assert line.said().value == f"{head.decode(torch.tensor(ids))} | n eː"
    assert [word.text for word in line.words] == ["n eː", "n eː n", "eː n", "n eː"]
    assert [word.start for word in line.words] == [0, 3, 7, 20]


def test_heads_that_give_no_times(tmp_path):
    class Other(talking.CTC.__mro__[1]):
        metrics = ("cer",)

        def build(self, dim):
            self.output = torch.nn.Linear(dim, 1)

        def scores(self, f):
            from mtl.head import Scores

            return Scores(self.output(f.x), f.lengths)

        def predict(self, scores):
            return [Prediction("x", 0.5)] * len(scores.x)

    net = model()
    net.add(Task("nl", "speech", Other()))
    write(tmp_path / "a.wav", [text(200)])
    (told,) = hear(net, tmp_path / "a.wav", lang="nl", chunk=5.0)
    assert set(told.transcript.text.split()) == {"x"} and told.transcript.confidence == 0.5
    with pytest.raises(ValueError, match="task 'nl' gives no times: its head is Other, not CTC"):
        hear(net, tmp_path / "a.wav", lang="nl", timed=True)


def test_every_piece_has_the_speaker(tmp_path, monkeypatch):
    write(tmp_path / "a.wav", [text(200)])
    seen = []
    net = model()
    enter = net.stem("speech").enter
    monkeypatch.setattr(
        net.stem("speech"),
        "enter",
        lambda batch: seen.extend(batch.groups["speaker"]) or enter(batch),
    )
    hear(net, tmp_path / "a.wav", chunk=5.0, speaker=3)
    assert len(seen) > 3 and set(map(int, seen)) == {3}


def test_stems_of_a_fixed_length_hear_no_more(tmp_path):
    said = text(200)
    write(tmp_path / "a.wav", [said])
    net = model()
    net.stem("speech").fixed_seconds = 5.0
    monkeypatched = []
    prepare = net.stem("speech").prepare
    net.stem("speech").prepare = lambda raw: monkeypatched.append(len(raw) / HZ) or prepare(raw)
    (told,) = hear(net, tmp_path / "a.wav")
    assert told.transcript.text == said
    assert max(monkeypatched) <= 5.0


@pytest.mark.parametrize("chunk", [0.0, 0.5, -1.0, float("nan")])
def test_too_short_a_chunk_is_refused(tmp_path, chunk):
    write(tmp_path / "a.wav", ["ab"])
    with pytest.raises(ValueError, match=r"chunk is .*; give the seconds of a piece, at least 1"):
        hear(model(), tmp_path / "a.wav", chunk=chunk)


# mtl.load


def test_a_loaded_model_takes_long_files_and_arrays(tmp_path):
    said = text(150)
    write(tmp_path / "a.wav", [said], 16000)
    samples, hz = soundfile.read(tmp_path / "a.wav", dtype="float32")
    loaded = Loaded(model())
    for given, rate in (
        (tmp_path / "a.wav", None),
        (samples, hz),
        (np.stack([samples, samples]), hz),
        (torch.from_numpy(samples)[:, None], hz),
        ((samples * 32767).astype(np.int16), hz),
    ):
        assert loaded(given, rate, chunk=5.0).text == said
        (told,) = loaded.listen([given], rate, chunk=5.0, timed=True)
        assert_times(told.words, times(said))
    assert (
        loaded([tmp_path / "a.wav"] * 2, chunk=7.0) == [loaded(tmp_path / "a.wav", chunk=7.0)] * 2
    )
    samples[100000] = np.inf
    with pytest.raises(ValueError, match="input 0: samples that are NaN or infinite"):
        loaded(samples, hz, chunk=5.0)


def peak(net, path, **options):
    hear(net, path, **options)
    tracemalloc.start()
    (told,) = hear(net, path, **options)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most, told


def test_memory_does_not_grow_with_length(tmp_path):
    """Four times the length takes the text more: 5 kB here, where the samples are 4 MB."""
    net = model()
    sizes = []
    for copies in (4, 16):
        write(tmp_path / "a.wav", [text(70), 0.5] * copies)
        most, told = peak(net, tmp_path / "a.wav", chunk=4.0, batch=4.0)
        assert told.transcript.text == " ".join([text(70)] * copies)
        sizes.append(most)
    assert sizes[1] < sizes[0] + 50_000
