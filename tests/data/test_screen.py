import pytest
from spoken import HZ, build, manifest, rows, two_languages

from mtl.data.speech import Speech, choose_subsample, describe_skips, screen
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.stems.logmel import LogMel

SPOILT = {
    "symbols": ({"text": "dag"}, "outside the vocabulary of 5: 'g'"),
    "no text": ({"text": "  "}, "empty text; write what is said, or drop the line"),
    "label": ({"text": "?!"}, "is empty after normalising"),
    "too short": (
        {"text": "abab" * 10},
        "40 symbols (with repeats) but 13 frames: too short for CTC",
    ),
    "language": ({"lang": "fy"}, "language 'fy' has no task; this model has: nl, cy"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_what_a_model_cannot_learn_from_is_screened_out(kind, sounds):
    change, reason = SPOILT[kind]
    utterances = manifest(sounds, rows((0, change)))
    kept, skipped = screen(utterances, two_languages())
    assert [u.id for u in kept] == ["1", "2", "3"]
    (skip,) = skipped
    assert (skip.id, skip.where, skip.kind) == ("0", "train.jsonl:1", kind)
    assert skip.reason.startswith("train.jsonl:1: ") and reason in skip.reason
    assert skip.lang == change.get("lang", "nl")


def test_screening_reads_no_file(sounds, tmp_path):
    lines = [{**line, "duration": 1.0} for line in rows()]
    kept, skipped = screen(manifest(tmp_path, lines), two_languages())
    assert len(kept) == 4 and not skipped


def test_screening_agrees_with_loading(sounds):
    """What screening keeps can be loaded, what it drops cannot, up to a frame at the end."""
    texts = ["ab" * count for count in range(1, 16)]
    lines = [{"audio_filepath": "2.wav", "text": text, "lang": "nl"} for text in texts]
    utterances = manifest(sounds, lines)
    kept, skipped = screen(utterances, two_languages())
    assert kept and skipped
    data = Speech(utterances, two_languages())
    for index, utterance in enumerate(utterances):
        if utterance in kept:
            data.example(index)
    with pytest.raises(ValueError, match="too short"):
        data.example(len(utterances) - 1)


def test_models_without_text_are_screened_by_what_they_learn(sounds):
    utterances = manifest(
        sounds, rows((0, {"text": "", "label": "yes"}), (1, {"label": "perhaps"}))
    )
    words = build(Task("word", "speech", Classify(["yes", "no"]), label="label"))
    kept, skipped = screen(utterances, words)
    assert [u.id for u in kept] == ["0"]
    assert [skip.kind for skip in skipped] == ["label", "language", "language"]
    languages = build(Task("language", "speech", Classify(["nl", "cy"])))
    assert len(screen(utterances, languages)[0]) == 4
    anything = build(Task("all", "speech", CTC(list(" abde")), label="text"))
    assert [skip.kind for skip in screen(utterances, anything)[1]] == ["no text"]


def test_skips_are_summed_up_by_language_and_kind(sounds):
    changes = [(0, {"text": "dag"}), (1, {"text": ""}), (2, {"text": "goed"})]
    _, skipped = screen(manifest(sounds, rows(*changes)), two_languages())
    lines = describe_skips(skipped, 4)
    assert lines[0].startswith(
        "cy: left out 1 of 4 utterances (no text), train.jsonl:2: empty text"
    )
    assert lines[1].startswith("nl: left out 2 of 4 utterances (symbols), train.jsonl:1: 'dag' has")
    assert len(lines) == 2 and describe_skips([], 4) == []


def test_the_frame_rate_is_the_coarsest_that_can_spell_every_language(sounds):
    """Compared with the models themselves: at each rate, who is too short."""
    texts = {"nl": ["ab" * 4, "aab"], "cy": ["ab" * 16, "ba", "bad"]}
    lines = [
        {"audio_filepath": "2.wav", "duration": 0.8, "text": text, "lang": lang}
        for lang, said in texts.items()
        for text in said
    ]
    utterances = manifest(sounds, lines)
    lost = {}
    for factor in (4, 3, 2, 1):
        net = build(
            Task("all", "speech", CTC(list("abd")), label="text"), ear=LogMel(8, HZ, 16, factor)
        )
        lost[factor] = {skip.lang for skip in screen(utterances, net)[1]}
    assert lost == {4: {"cy"}, 3: {"cy"}, 2: set(), 1: set()}
    head = CTC(list("abd"))
    factor, said = choose_subsample(utterances, lambda u: head.needs(head.encode(u.text)))
    assert factor == 2
    assert said == [
        "cy: 33.3% of the utterances have more symbols than frames at 4x",
        "cy: 33.3% of the utterances have more symbols than frames at 3x",
    ]
    assert choose_subsample(utterances, lambda u: len(u.text), most=0.4) == (4, [])
    assert choose_subsample(utterances, lambda u: 1) == (4, [])
