import base64
import builtins
import copy
import json

import pytest
import sentencepiece
import torch

from mtl import Model, Task
from mtl.batch import Features, Labels
from mtl.heads.pieces import Pieces
from mtl.pieces import train
from mtl.registry import construct, describe
from mtl.stems.logmel import LogMel
from mtl.text import SymbolError, TextRules, normalise
from mtl.trunks.transformer import Transformer

TEXTS = ["Het weer, morgen!", "het weer van morgen", "meer weer", "’t Regent morgen meer", "ñandú"]
WRITTEN = [normalise(text, TextRules()) for text in TEXTS]


@pytest.fixture(params=["bpe", "unigram"])
def head(request):
    return Pieces(train(WRITTEN, request.param, 26))


def test_every_training_text_comes_back(head):
    for text, written in zip(TEXTS, WRITTEN, strict=True):
        ids = head.encode(text)
        assert head.decode(ids) == written and head.decode(ids.tolist()) == written
        assert ids.min() > 0 and ids.max() <= len(head.symbols)
    assert len(head.encode("het weer")) < len("het weer")  # what pieces are for
    assert max(len(head.encode(text)) for text in TEXTS) == max(
        head.needs(head.encode(text)) for text in TEXTS
    )


def test_symbols_stand_at_their_numbers(head):
    direct = sentencepiece.SentencePieceProcessor(model_proto=base64.b64decode(head.pieces))
    for text in WRITTEN:
        named = [head.symbols[index - 1] for index in head.encode(text).tolist()]
        assert named == direct.encode(text, out_type=str)


def test_any_order_of_pieces_is_a_text(head):
    torch.manual_seed(0)
    for _ in range(50):
        text = head.decode(torch.randint(0, len(head.symbols) + 1, (9,)))
        assert text == " ".join(text.split()) and "▁" not in text


def test_unseen_characters_are_named_and_nothing_is_unknown(head):
    with pytest.raises(SymbolError, match=r"'ß' \(U\+00DF\), 'ф' \(U\+0444\)"):
        head.encode("het weßфr")
    assert not any("unk" in symbol for symbol in head.symbols)
    with pytest.raises(ValueError, match="empty after normalising"):
        head.encode("?!")


def test_symbols_of_another_model_are_refused(head):
    other = Pieces(train(["heel andere woorden"], "bpe", 14))
    with pytest.raises(ValueError, match=r"symbols lack \d+ of the 14 pieces .* different heads"):
        Pieces(other.pieces, head.symbols)


def test_more_characters_may_stand_beside_the_pieces(head):
    more = Pieces(head.pieces, [*head.symbols, "ß", "ф"])
    assert more.decode(more.encode("weßфr ф")) == "weßфr ф"
    assert more.encode("het weer").equal(head.encode("het weer"))


def test_a_saved_model_holds_its_pieces(head, tmp_path):
    torch.manual_seed(0)
    model = Model({"speech": LogMel(8)}, Transformer(8, 1, 2, 2), [Task("nl", "speech", head)])
    model.save_pretrained(tmp_path / "m")
    again = Model.from_pretrained(tmp_path / "m").head("nl")
    assert describe(again) == describe(head) and json.dumps(describe(head))
    f = Features(torch.randn(2, 20, 8), torch.tensor([20, 12]))
    assert again.scores(f).x.equal(head.eval().scores(f).x)
    label = head.encode(TEXTS[0])
    labels = Labels(torch.stack([label, label]), torch.tensor([len(label)] * 2))
    assert again.loss(again.scores(f), labels).isfinite().all()
    assert [p.value for p in copy.deepcopy(again).predict(again.scores(f))] == [
        p.value for p in head.predict(head.scores(f))
    ]

    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config["tasks"][0]["head"]["symbols"].pop()
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"config\.json: symbols lack 1 of the"):
        Model.from_pretrained(tmp_path / "m")


def test_loading_without_the_package_names_the_remedy(head, tmp_path, monkeypatch):
    model = Model({"speech": LogMel(8)}, Transformer(8, 1, 2, 2), [Task("nl", "speech", head)])
    model.save_pretrained(tmp_path / "m")
    real = builtins.__import__

    def missing(name, *rest):
        if name == "sentencepiece":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"need sentencepiece: pip install 'mtl\[symbols\]'"):
        Model.from_pretrained(tmp_path / "m")


def test_other_rules_are_kept():
    rules = {"case": "keep", "keep": "!"}
    head = Pieces(train(["Ja! ja!"], "bpe", 5), rules=rules, upsample=2)
    again = construct("heads", describe(head))
    assert again.decode(again.encode("Ja! ja!")) == "Ja! ja!"
    assert (again.rules, again.upsample) == (rules, 2)
