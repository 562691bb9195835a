"""What becomes train, dev and test; the recipe's tests look at the rest."""

import pytest

from mtl.data.manifest import ManifestError, write_manifest
from mtl.data.splits import Source


@pytest.fixture
def spoken(tmp_path):
    """Write a manifest of 12 utterances of a language by so many speakers."""

    def write(lang, speakers):
        path = tmp_path / f"{lang}.jsonl"
        row = {"audio_filepath": "a.wav", "duration": 1, "text": "ab", "lang": lang}
        voices = [{"id": f"{lang}{n}", "speaker": f"s{n % speakers}"} for n in range(12)]
        write_manifest(path, [row | voice for voice in voices])
        return path

    return write


def test_the_note_says_which_languages_gave_single_utterances(spoken):
    few, many = spoken("ru", 2), spoken("en", 6)
    (note, *_) = Source(data=[few, many]).read().notes
    assert note == (
        "dev: 3 training utterances held out by speakers, by utterances where there are fewer than 3: ru"
    )
    assert Source(data=[many]).read().notes[0] == "dev: 2 training utterances held out by speakers"
    plain = Source(data=[few, many], hold_out="utterances").read().notes[0]
    assert plain == "dev: 2 training utterances held out by utterances"


def test_a_manifest_given_twice_is_named(spoken, tmp_path):
    path = spoken("ru", 3)
    (tmp_path / "also").symlink_to(tmp_path)
    for again in (path, tmp_path / "also" / "ru.jsonl"):
        with pytest.raises(
            ManifestError, match=r"ru.jsonl is given twice: name each manifest once"
        ):
            Source(data=[path, again]).read()


def test_little_data_needs_a_count(spoken):
    with pytest.raises(ValueError, match=r"--low-resource ru: give its training utt.* as ru=60"):
        Source(data=[spoken("ru", 3)], low_resource="ru").read()
