"""Languages and attention heads as users meet them: loaded models, evaluation, adaptation, the recogniser."""

import copy
from argparse import ArgumentParser
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

import mtl
from mtl.batch import Batch
from mtl.commands import transcribe as command
from mtl.data.augment import Augment
from mtl.data.manifest import read_manifest, write_manifest
from mtl.data.speech import Speech
from mtl.delta import take, wear
from mtl.evaluate import evaluate
from mtl.heads.attention import Attention
from mtl.joint import decide, judge
from mtl.languages import writers
from mtl.load import Inputs, Loaded
from mtl.members import LANG, numbers
from mtl.model import Model
from mtl.polyglot import BY_LANGUAGE
from mtl.predict import extract, predict
from mtl.pseudo import pseudo_label
from mtl.recogniser import Net, recogniser
from mtl.sat import drop, sat
from mtl.tune.adapter import adapter
from mtl.tune.lhuc import lhuc

HZ = 16000


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """Eight noises, said to be Dutch and Welsh."""
    folder, rng = tmp_path_factory.mktemp("said"), np.random.default_rng(0)
    lines = []
    for index in range(8):
        times = np.arange(HZ // 2 + 800 * index)
        wave = 0.5 * np.sin(0.02 * (index + 1) * times) * rng.uniform(-1, 1, len(times))
        soundfile.write(folder / f"{index}.wav", wave, HZ)
        lang = ("nl", "cy")[index % 2]
        texts = ("ab", "ba", "abba")[index % 3]
        lines.append({"audio_filepath": f"{index}.wav", "text": texts, "lang": lang})
    lines = [line | {"speaker": f"s{number % 3}"} for number, line in enumerate(lines)]
    write_manifest(folder / "m.jsonl", lines)
    return read_manifest(folder / "m.jsonl")


def built(said, **net):
    """A recogniser whose languages differ, and of which half of the noises sound like Welsh."""
    torch.manual_seed(0)
    model, _ = recogniser(said, Net(dim=16, depth=2, inner="b1", **net))
    model.eval()
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, rows in model.named_parameters():
            if "-lang." in name:
                rows[1:] += torch.randn(rows[1:].shape, generator=g)
            elif name.startswith("heads"):
                rows += 0.5 * torch.randn(rows.shape, generator=g)
    data = Speech(said, model, groups={LANG: {"": 0}})
    pooled = torch.from_numpy(extract(model, data, "speech"))
    output = model.head("language").output
    logits = pooled @ output.weight.data.T
    gaps = (logits[:, 1] - logits[:, 0]).sort().values
    output.bias.data.copy_(torch.tensor([float(gaps[3] + gaps[4]) / 2, 0.0]))
    return model


def paths(said):
    return [utterance.audio for utterance in said]


@pytest.mark.parametrize("way", BY_LANGUAGE)
def test_a_saved_model_hears_the_language_given_or_told(said, way, tmp_path, capsys):
    model = built(said, language=way)
    model.save_pretrained(tmp_path / "model")
    hears = mtl.load(tmp_path / "model")
    given = {lang: hears(paths(said), lang=lang) for lang in ("nl", "cy")}
    told = hears(paths(said))
    assert {one.lang for one in told} == {"nl", "cy"}, "else this test says nothing"
    for index, one in enumerate(told):
        assert one.text == given[one.lang][index].text
        assert one.confidence == pytest.approx(given[one.lang][index].confidence, abs=1e-4)
        assert hears(paths(said)[index]).text == one.text, "alone"
    # By hand: the language of a blind pass, then the rows of that language.
    data = Inputs(paths(said), model.stem("speech"))
    for index, one in enumerate(told):
        x = data.example(index).input
        batch = Batch(x[None], torch.tensor([len(x)]), groups={LANG: torch.tensor([0])})
        with torch.no_grad():
            (lang,) = model.head("language").predict(
                model.scores("language", model("speech", batch))
            )
            number = {"cy": 1, "nl": 2}[lang.value]
            again = model("speech", batch._replace(groups={LANG: torch.tensor([number])}))
            (text,) = model.head(lang.value).predict(model.scores(lang.value, again))
        assert (one.lang, one.text) == (lang.value, text.value)
    argv = ["--model", str(tmp_path / "model"), "--lang", "cy", *map(str, paths(said))]
    parser = ArgumentParser()
    command.arguments(parser)
    assert command.run(parser.parse_args(argv)) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[1:] for line in lines] == [["cy", one.text] for one in given["cy"]]
    assert any(
        a.text != b.text for a, b in zip(given["cy"], _untold(model, said, "cy"), strict=True)
    )


def _untold(model, said, lang):
    bare = copy.deepcopy(model)
    for name, rows in bare.named_parameters():
        if "-lang." in name:
            rows.data[1:] = rows.data[:1]
    return Loaded(bare)(paths(said), lang=lang)


def test_telling_the_trunk_its_language_does_not_leak_into_the_answer(said):
    model = built(said, language="vector")
    blind = predict(
        model, Speech(said, model, groups={LANG: {"": 0}}), "speech", tasks=["language"]
    )
    rows = evaluate(model, {"speech": Speech(said, model)}).of("language")
    assert [row.prediction for row in rows] == [a.predictions["language"].value for a in blind]
    texts = evaluate(model, {"speech": Speech(said, model)})
    nl = Speech([u for u in said if u.lang == "nl"], model, groups={LANG: {"": 2}})
    expected = [answer.predictions["nl"].value for answer in predict(model, nl, "speech")]
    assert [row.prediction for row in texts.of("nl")] == expected


def test_utterances_of_no_known_language_are_written_in_the_one_they_sound_like(said):
    model = built(said, language="vector")
    unknown = [replace(utterance, lang="und") for utterance in said]
    heard, _ = pseudo_label(model, unknown)
    told = dict(zip(paths(said), Loaded(model)(paths(said)), strict=True))
    assert heard
    for utterance in heard:
        assert (utterance.lang, utterance.text) == (
            told[utterance.audio].lang, told[utterance.audio].text,
        )  # fmt: skip


@pytest.mark.parametrize(("way", "edit"), [("adapter", adapter), ("lhuc", lhuc)])
def test_languages_and_speakers_may_have_the_same_edit(said, way, edit, tmp_path):
    base = built(said, language=way)
    adapted = copy.deepcopy(base)
    edit(adapted, 2)
    own = set(base.state_dict())
    for name, rows in adapted.named_parameters():
        if name not in own:
            rows.data[1] += torch.randn(rows[1].shape)
    base.save_pretrained(tmp_path)
    loaded = Model.from_pretrained(tmp_path)
    wear(loaded, [take(adapted.eval(), base, "zoe", member=1)])
    data = Inputs(paths(said), loaded.stem("speech"), speaker=1)
    found = predict(loaded, data, "speech")
    assert found == predict(adapted, data, "speech")
    plain = predict(base, Inputs(paths(said), base.stem("speech")), "speech")
    assert found != plain
    unadapted = Inputs(paths(said), loaded.stem("speech"))
    assert predict(loaded, unadapted, "speech") == plain


@pytest.mark.parametrize("way", BY_LANGUAGE)
def test_speaker_adaptive_training_leaves_the_languages(said, way):
    model = built(said, language=way)
    before = predict(model, Speech(said, model), "speech")
    groups = sat(model, said)
    assert set(groups["speaker"].values()) == {0, 1, 2, 3}
    drop(model, "lhuc")
    assert predict(model, Speech(said, model), "speech") == before
    again = Model.from_config(model.config())
    assert again.state_dict().keys() == model.state_dict().keys() and numbers(again)


def test_each_group_is_nobodys_by_itself():
    names = [f"x{index}" for index in range(400)]
    augment, groups = Augment(nobody=0.3), {"speaker": 4, "lang": 2}
    drawn = [augment.unname(groups, name, 0) for name in names]
    both = {(found["speaker"] == 0, found["lang"] == 0) for found in drawn}
    assert len(both) == 4 and all(list(found) == list(groups) for found in drawn)
    for column in groups:
        share = sum(found[column] == 0 for found in drawn) / len(drawn)
        assert share == pytest.approx(0.3, abs=0.07)
    assert [augment.unname({"lang": 2}, name, 0)["lang"] for name in names] == [
        found["speaker"] // 2 for found in drawn
    ], "one group alone is drawn as ever"


def test_a_recogniser_gets_attention_heads_that_judge(said, tmp_path):
    model = built(said, attention=0.3, language="vector")
    assert writers(model) == {"cy": "cy", "nl": "nl"}
    names = [name for name, task in model.tasks.items() if isinstance(model.head(name), Attention)]
    assert names == ["cy-attention", "nl-attention"]
    for name in names:
        task = model.tasks[name]
        assert (task.weight, task.label, task.auxiliary) == (0.3, name[:2], True)
        assert judge(model, name[:2]) == name
    model.save_pretrained(tmp_path)
    data = Speech(said, model)
    rows = evaluate(Model.from_pretrained(tmp_path), {"speech": data}).rows
    assert {row.task for row in rows} == {"cy", "nl", "language"}
    greedy = {"nl": model.head("nl").predict, "cy": model.head("cy").predict}
    plain = evaluate(model, {"speech": data}, decoders=greedy).rows
    assert [row.prediction for row in rows] != [row.prediction for row in plain]
    for index, utterance in enumerate(said):
        example = data.example(index, targets=False)
        lang = torch.tensor([example.groups[LANG]])
        length = torch.tensor([len(example.input)])
        with torch.no_grad():
            f = model("speech", Batch(example.input[None], length, groups={LANG: lang}))
            (expected,) = decide(model, utterance.lang, f, model.scores(utterance.lang, f))
        (row,) = [row for row in rows if (row.task, row.id) == (utterance.lang, utterance.id)]
        assert row.prediction == expected.value


def test_without_the_options_nothing_is_new(said):
    model, _ = recogniser(said, Net(dim=16, depth=2))
    assert not model.edits and not any("attention" in task for task in model.tasks)
    single, _ = recogniser(said[::2], Net(dim=16, depth=2, language="vector", attention=0.3))
    assert not single.edits and list(single.tasks) == ["nl", "nl-b2", "nl-attention"]


def test_a_shared_head_is_told_the_language_and_judged(said):
    model, _ = recogniser(
        said, Net(dim=16, depth=2, shared=True, language="adapter", attention=0.1)
    )
    assert writers(model) == {"text": "text"} and judge(model, "text") == "text-attention"
    answers = predict(model, Speech(said, model), "speech")
    assert all(set(answer.predictions) == {"text", "language"} for answer in answers)
