import jiwer
import numpy as np
import pytest
import soundfile
import torch

from mtl import Model, Task, evaluate
from mtl.batch import Features
from mtl.data.manifest import read_manifest, write_manifest
from mtl.data.speech import Speech
from mtl.head import Scores
from mtl.heads.phoneme import Phoneme
from mtl.languages import writers
from mtl.metrics import METRICS
from mtl.registry import construct, describe
from mtl.stems.logmel import LogMel
from mtl.text import SymbolError
from mtl.trunks.transformer import Transformer

SYMBOLS = [" ", "d", "eː", "n", "t͡ʃ", "u", "ə", "ɔ̃", "ɣ"]
SAID = "ɣˈud t͡ʃˈɔ̃ nˈeː"


def test_ipa_goes_in_and_comes_out():
    head = Phoneme(SYMBOLS)
    assert head.reference(SAID) == "ɣ u d | t͡ʃ ɔ̃ | n eː"
    assert head.encode(SAID).tolist() == [9, 6, 2, 1, 5, 8, 1, 4, 3]
    assert head.decode(head.encode(SAID)) == head.reference(SAID)


def test_words_that_hold_nothing_are_not_written():
    head = Phoneme(SYMBOLS)
    assert head.decode([1, 4, 0, 1, 1, 3, 1]) == "n | eː"
    assert head.decode([1, 0]) == head.decode([]) == ""


def test_stress_is_a_symbol_where_it_is_wanted():
    head = Phoneme([*SYMBOLS, "ˈ"], stress=True)
    assert head.reference(SAID) == "ɣ ˈ u d | t͡ʃ ˈ ɔ̃ | n ˈ eː"
    assert head.decode(head.encode(SAID)) == head.reference(SAID)


def test_wrong_symbols_and_labels_are_named():
    with pytest.raises(ValueError, match=r"symbol 'tʃ' is \['t', 'ʃ'\]: give single phones"):
        Phoneme(["tʃ"])
    with pytest.raises(ValueError, match="symbol 'ˈ' is"):
        Phoneme(["ˈ"])
    with pytest.raises(SymbolError, match=r"'ɔː' \(U\+0254 U\+02D0\)"):
        Phoneme(SYMBOLS).encode("nɔː")
    with pytest.raises(ValueError, match="empty after normalising"):
        Phoneme(SYMBOLS).encode("ˈ")
    with pytest.raises(ValueError, match="is no IPA"):
        Phoneme(SYMBOLS).encode("n!")


def test_predictions_are_scored_by_phones():
    head = Phoneme(SYMBOLS)
    path = [9, 9, 0, 6, 2, 5, 5, 1, 7, 0, 7, 4]  # ɣ u d t͡ʃ | ə ə n
    x = torch.full((1, len(path), len(SYMBOLS) + 1), -5.0)
    x[0, range(len(path)), path] = 0
    (said,) = head.predict(Scores(x.log_softmax(-1), torch.tensor([len(path)])))
    assert said.value == "ɣ u d t͡ʃ | ə ə n"
    assert head.metrics == ("per",)
    errors, length = METRICS["per"].per_example(head.reference(SAID), said.value)
    heard = jiwer.process_words("ɣ u d t͡ʃ ɔ̃ n eː", "ɣ u d t͡ʃ ə ə n")
    assert length == 7 and errors == heard.substitutions + heard.deletions + heard.insertions == 3


def test_evaluation_gives_the_phone_error_rate(tmp_path):
    rng, said = np.random.default_rng(0), ["nˈeː dən", "ɣˈud nˈeː t͡ʃˈɔ̃ d", "d"]
    rows = [{"audio_filepath": f"{n}.wav", "lang": "nl", "phonemes": s} for n, s in enumerate(said)]
    for row in rows:
        soundfile.write(tmp_path / row["audio_filepath"], rng.uniform(-0.5, 0.5, 9000), 16000)
    write_manifest(tmp_path / "m.jsonl", rows)
    torch.manual_seed(0)
    task = Task("nl-phonemes", "speech", Phoneme(SYMBOLS))
    model = Model({"speech": LogMel(8)}, Transformer(8, 1, 2, 2), [task])
    found = evaluate(model, {"speech": Speech(read_manifest(tmp_path / "m.jsonl"), model)})
    bare = [[row.reference, row.prediction] for row in sorted(found.rows, key=lambda row: row.id)]
    assert [pair[0] for pair in bare] == [task.head.reference(text) for text in said]
    truth, heard = ([text.replace("| ", "") for text in side] for side in zip(*bare, strict=True))
    figures = found.tasks()["nl-phonemes"]
    assert figures["per"] == pytest.approx(jiwer.wer(truth, [text.strip("|") for text in heard]))
    assert "cer" not in figures and any(heard)


def test_settings_and_weights_come_back_and_it_writes_its_language():
    torch.manual_seed(0)
    head = Phoneme(SYMBOLS, upsample=2)
    task = Task("nl-phonemes", "speech", head)
    model = Model({"speech": LogMel(8)}, Transformer(8, 1, 2, 2), [task])
    assert writers(model) == {"nl": "nl-phonemes"}
    again = construct("heads", describe(head))
    again.build(8)
    again.load_state_dict(head.state_dict())
    f = Features(torch.randn(1, 3, 8), torch.tensor([3]))
    assert torch.equal(again.scores(f).x, head.scores(f).x) and describe(again) == describe(head)
