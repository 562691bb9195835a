"""A trunk that knows which language it hears: from its user, from the manifest, or by its own head."""

import copy

import numpy as np
import pytest
import torch
from test_contract import DIM
from toy import Spelled, train

from mtl.batch import Batch, collate
from mtl.data.augment import Augment
from mtl.data.manifest import read_manifest, write_manifest
from mtl.data.speech import Speech
from mtl.delta import read, save, take, wear
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.languages import choose
from mtl.members import LANG, TELL, numbers
from mtl.model import Model
from mtl.polyglot import BY_LANGUAGE, by_language, hear, number, untell
from mtl.sat import drop, sat
from mtl.stems.frames import Frames
from mtl.trunks.transformer import Transformer
from mtl.tune.lhuc import lhuc
from mtl.tune.members import members
from mtl.tune.vector import vector

BINS, LANGS = 6, ["cy", "nl"]
LENGTHS = [9, 14, 5, 3, 12, 8, 7, 14]
each = pytest.mark.parametrize("way", BY_LANGUAGE)


def plain(at=None):
    torch.manual_seed(0)
    tasks = [Task(lang, "speech", CTC(["a", "b"])) for lang in LANGS]
    tasks += [Task("language", "speech", Classify(LANGS), at=at)]
    return Model({"speech": Frames(BINS, DIM)}, Transformer(DIM, 2, 2, 2, 0.0), tasks).eval()


def told(way, at=None, seed=1):
    """A model whose languages differ, and nobody's does from neither."""
    model = plain(at)
    own = set(model.parameters())
    by_language(model, way, LANGS)
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for rows in model.parameters():
            if rows not in own:
                rows[1:] += 0.5 * torch.randn(rows[1:].shape, generator=g)
        # Half of the utterances sound like one language, half like the other.
        logits = model.scores("language", model("speech", batch([0] * 8), ["b1"])).x[4:]
        gaps = (logits[:, 0] - logits[:, 1]).sort().values
        model.head("language").output.bias[1] += (gaps[1] + gaps[2]) / 2
    return model


def batch(langs=None, rows=slice(None)):
    x = torch.randn(8, 14, BINS, generator=torch.Generator().manual_seed(3))
    langs = torch.tensor([TELL, 0, 1, 2, TELL, TELL, TELL, TELL] if langs is None else langs)
    lengths = torch.tensor(LENGTHS)
    return Batch(x[rows], lengths[rows], groups={LANG: langs[rows]})


@torch.no_grad()
def run(model, langs, rows=slice(None)):
    return model("speech", batch([langs] * 8, rows))


def passes(model):
    """Count the runs of a trunk from here on."""
    count = []
    model.trunk.register_forward_hook(lambda *_: count.append(1))
    return count


@each
def test_nothing_changes_until_they_are_trained(way):
    model, bare = plain(), plain()
    by_language(model, way, LANGS)
    for lang in range(3):
        assert run(model, lang).x.equal(run(bare, 0).x)
    assert numbers(model) == {"lang": {"": 0, "cy": 1, "nl": 2}} and numbers(bare) == {}


@each
def test_members_come_back_with_the_model(way, tmp_path):
    model = told(way)
    model.save_pretrained(tmp_path)
    loaded = Model.from_pretrained(tmp_path)
    assert numbers(loaded) == numbers(model) and loaded.config() == model.config()
    found, expected = hear(loaded, "speech", batch()), hear(model, "speech", batch())
    assert found.told.x.equal(expected.told.x) and found.untold.x.equal(expected.untold.x)


@each
def test_what_was_told_can_be_taken_out_and_given_to_others(way):
    model = told(way)
    before, nobodys = run(model, 2).x, run(model, 0).x
    taken = untell(model)
    assert (taken.way, model.edits, numbers(model)) == (way, [], {})
    assert model.state_dict().keys() == plain().state_dict().keys()
    assert run(model, 2).x.equal(nobodys), "what is left is nobody's"
    by_language(model, way, ["aa", "nl"])
    taken.give(model)
    assert run(model, 2).x.equal(before) and run(model, 1).x.equal(nobodys)


def test_other_edits_are_not_taken_out():
    for model in (plain(), told("vector")):
        lhuc(model, 2)
        with pytest.raises(ValueError, match=r"edits \[.*'lhuc'\] are not those of `by_language`"):
            untell(model)


@each
def test_only_who_speaks_learns_and_never_nobody(way):
    model = told(way).train()
    own = {name: p for name, p in model.named_parameters() if len(p) == 3 and "trunk" in name}
    rows = [p for name, p in own.items() if name not in dict(plain().named_parameters())]
    model("speech", batch([0, 2, 2, 0, 2, 0, 2, 0])).x.square().sum().backward()
    assert rows
    for parameter in rows:
        trained = parameter.grad.flatten(1).abs().sum(1) > 0
        assert trained.tolist() == [False, False, True]


class Told(Spelled):
    """Two languages of which the trunk is told, but for a share of the draws."""

    def example(self, index, draw=None, targets=True):
        groups = Augment(nobody=0.5).unname({LANG: 1 + index % 2}, self.ids[index], draw or 0)
        return super().example(index, draw, targets)._replace(groups=groups)


@each
def test_training_leaves_nobody_where_it_began(way):
    model = plain()
    by_language(model, way, LANGS)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    after = train(Told(), net=model, weight_decay=0.1, steps=6).model
    bare = plain()
    bare.load_state_dict({n: v for n, v in after.state_dict().items() if n in bare.state_dict()})
    assert run(after.eval(), 0).x.equal(run(bare, 0).x)
    added = [name for name in before if name not in bare.state_dict()]
    moved = [after.state_dict()[n][1:].ne(before[n][1:]).flatten(1).any(1).all() for n in added]
    assert added and all(moved), "the languages learn"


@torch.no_grad()
@each
@pytest.mark.parametrize("at", [None, "b1"])
def test_the_second_pass_hears_the_language_that_the_first_one_told(way, at):
    model = told(way, at)
    bare = plain(at)
    bare.load_state_dict({n: v for n, v in model.state_dict().items() if n in bare.state_dict()})
    blind = bare("speech", batch(), ["b1"])
    heard = 1 + bare.scores("language", blind).x.argmax(1)
    assert set(heard[4:].tolist()) == {1, 2}, "else this test says nothing"
    given = batch().groups[LANG]
    expected = torch.where(given == TELL, heard, given).tolist()
    found = hear(model, "speech", batch(), ["b1"], ["language", "nl"])
    first, second = found.of("language"), found.of("nl")
    assert model.scores("language", first).x.equal(bare.scores("language", blind).x)
    assert second.taps["b1"].x.shape == first.taps["b1"].x.shape
    for row, lang in enumerate(expected):
        one = run(model, lang, slice(row, row + 1))
        length = one.lengths[0]
        torch.testing.assert_close(second.x[row, :length], one.x[0, :length], atol=1e-5, rtol=0)
        assert lang == 0 or not torch.allclose(second.x[row], blind.x[row], atol=1e-3)


@torch.no_grad()
def test_a_pass_that_no_task_needs_is_left_out():
    model = told("vector")
    count = passes(model)
    for langs, asked, runs in (
        ([1, 2] * 4, ["nl"], 1),
        ([1, 2] * 4, ["language"], 2),
        ([TELL] * 8, ["nl"], 2),
        ([0] * 8, ["nl", "language"], 1),
    ):
        count.clear()
        hear(model, "speech", batch(langs), (), asked)
        assert len(count) == runs, (langs, asked)
    bare = plain()
    count = passes(bare)
    found = hear(bare, "speech", batch(), (), ["language"])
    assert found.of("nl") is found.of("language") and len(count) == 1


@torch.no_grad()
def test_without_a_language_head_nobody_speaks():
    model = told("vector")
    del model.tasks["language"]
    found = hear(model, "speech", batch([TELL] * 8), (), ["nl"])
    assert found.told is found.untold and found.told.x.equal(run(model, 0).x)


@torch.no_grad()
def test_where_no_language_is_given_the_model_tells_it():
    model = told("adapter")
    found = hear(model, "speech", batch()._replace(groups={}))
    assert found.told.x.equal(hear(model, "speech", batch([TELL] * 8)).told.x)


def test_a_language_that_the_rows_lack_is_nobodys():
    model = told("vector")
    model.head("language").classes = ["cy", "fr"]  # a head that learnt more languages since
    with torch.no_grad():
        model.head("language").output.bias.copy_(torch.tensor([-99.0, 99.0]))
    assert hear(model, "speech", batch([TELL] * 8)).told.x.equal(run(model, 0).x)


def test_numbers_of_what_was_chosen():
    model = told("vector")
    assert [number(model, choose(model, lang)) for lang in ("cy", "nl", "auto")] == [1, 2, TELL]
    assert [number(plain(), choose(plain(), lang)) for lang in ("nl", "auto")] == [0, 0]
    single = plain()
    del single.tasks["language"], single.tasks["cy"]
    by_language(single, "vector", ["nl"])
    assert number(single, choose(single)) == 1, "the only one"


def utterances(folder, langs=("nl", "cy", "fr")):
    rng = np.random.default_rng(0)
    np.savez(folder / "x.npz", **{lang: rng.standard_normal((9, BINS)) for lang in langs})
    lines = [{"feature_key": lang, "text": "ab", "lang": lang, "speaker": "zoe"} for lang in langs]
    lines = [line | {"feature_path": "x.npz", "duration": 0.09} for line in lines]
    write_manifest(folder / "m.jsonl", lines)
    return read_manifest(folder / "m.jsonl")


def test_utterances_carry_the_numbers_of_their_languages(tmp_path):
    said, model = utterances(tmp_path), told("vector")
    data = Speech(said, model)
    assert [data.example(n, targets=False).groups[LANG] for n in range(3)] == [2, 1, 0]
    speakers = {"speaker": {"": 0, "zoe": 7}}
    assert Speech(said, model, groups=speakers).example(0).groups == {"lang": 2, "speaker": 7}
    asking = Speech(said, model, groups={LANG: {"": TELL}})
    assert [asking.example(n, targets=False).groups[LANG] for n in range(3)] == [TELL] * 3
    nobody = Speech(said, model, augment=Augment(nobody=0.5))
    drawn = [nobody.example(0, draw).groups["lang"] for draw in range(40)]
    assert 10 < drawn.count(0) < 30 and set(drawn) == {0, 2}
    assert data.settings != Speech(said, plain()).settings, "a run does not resume on the other"
    assert Speech(said, plain()).example(0).groups == {}
    features = model("speech", collate([data.example(n, targets=False) for n in range(3)]))
    assert features.x.isfinite().all()


def test_speakers_and_languages_are_heard_at_once(tmp_path):
    base = told("vector")
    adapted = copy.deepcopy(base)
    lhuc(adapted, 2)
    for rows in (adapted.trunk.after[block]["lhuc"].a for block in ("b1", "b2")):
        rows.data[1].normal_()
    base.save_pretrained(tmp_path / "model")
    save(take(adapted, base, "zoe", member=1), tmp_path)
    loaded = Model.from_pretrained(tmp_path / "model")
    assert wear(loaded, [read(tmp_path / "zoe.safetensors")]) == {"": 0, "zoe": 1}
    assert numbers(loaded) == numbers(base)
    langs = batch([0, 1, 2, TELL, 0, 1, 2, TELL])
    groups = langs.groups | {"speaker": torch.tensor([0] * 4 + [1] * 4)}
    found = hear(loaded, "speech", langs._replace(groups=groups)).told.x
    expected = hear(adapted.eval(), "speech", langs._replace(groups=groups)).told.x
    assert found.equal(expected)
    untold = hear(base, "speech", langs).told.x
    assert found[:4].equal(untold[:4]) and not torch.allclose(found[4:], untold[4:], atol=1e-3)


def test_speaker_adaptive_training_beside_languages_leaves_them(tmp_path):
    model = told("vector")
    expected = run(model, 1).x
    sat(model, utterances(tmp_path))
    drop(model, "lhuc")
    assert run(model, 1).x.equal(expected) and numbers(model)[LANG]["cy"] == 1


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["cy"], r"1 members of 'lang' need edits of size 2 \(0 is nobody\); there are: 3"),
        (["cy", "cy"], r"members \['cy'\] of 'lang' are empty or repeat"),
        (["cy", ""], r"members \[''\] of 'lang' are empty or repeat"),
    ],
)
def test_members_that_fit_no_rows_are_refused(names, message):
    model = plain()
    vector(model, 3, column=LANG)
    with pytest.raises(ValueError, match=message):
        members(model, LANG, names)


def test_members_need_rows_and_are_named_once():
    model = plain()
    vector(model, 3)  # of speakers
    with pytest.raises(ValueError, match=r"need edits of size 3 .* there are: none"):
        members(model, LANG, LANGS)
    members(model, "speaker", ["anna", "zoe"])
    with pytest.raises(ValueError, match="members of 'speaker' have names already"):
        members(model, "speaker", ["anna", "zoe"])
    with pytest.raises(ValueError, match="language 'lin' is not known; choose from vector, adapt"):
        by_language(model, "lin", LANGS)
