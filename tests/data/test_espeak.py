import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mtl.data import espeak

SENTENCE = "the train leaves at ten past four"


@pytest.mark.parametrize("variant", ["m3", "klatt", "caleb", "whisper"])
def test_speech_does_not_depend_on_what_was_said_before(variant):
    first, _ = espeak.speak(SENTENCE, "en", variant)
    espeak.speak("negen", "nl", "whisperf", 190, 70, seed=3)
    espeak.speak("neun", "de", "klatt4", 130, 30, seed=4)
    espeak.ipa("nueve", "es")
    again, _ = espeak.speak(SENTENCE, "en", variant)
    np.testing.assert_array_equal(first, again)


def test_samples_are_sound_in_range_and_the_seed_changes_them():
    samples, hz = espeak.speak(SENTENCE, "en", "whisper")
    other, _ = espeak.speak(SENTENCE, "en", "whisper", seed=1)
    assert (samples.dtype, hz) == (np.float32, 22050)
    assert 0.2 < np.abs(samples).max() <= 1
    assert len(samples) != len(other) or not np.array_equal(samples, other)


def test_rate_pitch_and_language_are_obeyed():
    def seconds(rate):
        samples, hz = espeak.speak(SENTENCE, "en", "m3", words_per_minute=rate)
        return len(samples) / hz

    def pitch_hz(pitch):
        samples, hz = espeak.speak("aaa", "it", "m3", pitch=pitch)
        middle = samples[len(samples) // 3 :][:2048]
        correlation = np.correlate(middle, middle, "full")[2047:]
        return hz / (60 + correlation[60:400].argmax())

    assert seconds(100) > 1.5 * seconds(200)
    assert pitch_hz(90) > 1.2 * pitch_hz(10)
    assert espeak.ipa("ja", "nl") == "jˈaː"
    assert espeak.ipa("ja", "es") == "xˈa"


def test_ipa_joins_clauses_and_drops_language_marks():
    assert espeak.ipa("ja, nee. ja", "nl") == "jˈaː nˈeː jˈaː"
    marked = espeak.ipa("le weekend et le shopping", "fr")
    assert marked
    assert "(" not in marked
    assert espeak.ipa("", "nl") == ""


def test_every_language_can_be_chosen():
    engine, _ = espeak._restart(0)
    missing = {"fo", "kaa", "xex"}  # this build has no dictionary for them and complains on stderr
    files = [file for code, file in espeak._identifiers().items() if code not in missing]
    assert len(files) > 100
    assert [file for file in files if engine.espeak_SetVoiceByName(file.encode())] == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: espeak.speak("a", "nll"), "no language 'nll'.* nl"),
        (lambda: espeak.speak("a", "nl", "wisper"), "no variant 'wisper'.* whisper"),
        (lambda: espeak.ipa("a", "zz"), "no language 'zz'"),
        (lambda: espeak.speak("a", "nl", words_per_minute=20), "words_per_minute 20 .*80..450"),
        (lambda: espeak.speak("a", "nl", pitch=120), "pitch 120 in 0..99"),
    ],
)
def test_wrong_values_are_named_with_a_remedy(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ImportError, match=r"pip install 'mtl\[corpus\]'"):
        espeak._restart(0)
    monkeypatch.undo()
    assert len(espeak.speak(SENTENCE, "en")[0]) > 0  # the engine that ran before still does


def test_threads_may_speak_at_once():
    voices = ("m1", "f1", "m2", "f2")
    expected = [espeak.speak(SENTENCE, "en", voice)[0] for voice in voices]
    with ThreadPoolExecutor(len(voices)) as pool:
        found = list(pool.map(lambda voice: espeak.speak(SENTENCE, "en", voice)[0], voices))
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)
