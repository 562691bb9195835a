import sys
from itertools import chain

import numpy as np
import pytest
import torch
from test_contract import WIDTH
from torch import nn
from toy import Spelled, model, train

from mtl.evaluate import Evaluation, Row, evaluate
from mtl.metrics import bootstrap
from mtl.predict import chunks, extract, predict


@pytest.fixture(scope="module")
def trained():
    return train(Spelled(40), net=model(depth=2), steps=120, lr=1e-2, batch=100.0).model


class Broken(Spelled):
    """The example `x44` cannot be read."""

    def example(self, index, draw=None, targets=True):
        if self.ids[index] == "x44":
            raise ValueError("toy.jsonl:5: cannot be read")
        return super().example(index, draw, targets)


def test_answers_come_in_the_order_of_the_data_whatever_the_batches(trained):
    data = Spelled(11, 40)
    answers = predict(trained, data, "speech", batch=1e6)
    assert [answer.id for answer in answers] == data.ids
    assert [set(answer.predictions) for answer in answers] == [{"nl", "cy", "language"}] * 11
    for batch in (1.0, 5.0):
        for one, two in zip(answers, predict(trained, data, "speech", batch=batch), strict=True):
            assert one.example == two.example
            for name, prediction in one.predictions.items():
                assert two.predictions[name].value == prediction.value
                assert two.predictions[name].confidence == pytest.approx(prediction.confidence)


def test_a_trained_model_predicts_what_is_written(trained):
    data = Spelled(12, 40)
    for answer in predict(trained, data, "speech"):
        labels = data.labels(answer.example)
        assert answer.predictions["language"].value == labels["language"]
        assert answer.predictions[labels["language"]].value == labels[labels["language"]]
        assert answer.predictions["language"].confidence > 0.9


def test_tasks_can_be_chosen_for_all_or_each(trained):
    data = Spelled(4)
    some = predict(trained, data, "speech", tasks=["nl"])
    assert [list(answer.predictions) for answer in some] == [["nl"]] * 4
    each = predict(trained, data, "speech", tasks=lambda index: ["nl", "cy"][index : index + 1])
    assert [list(answer.predictions) for answer in each] == [["nl"], ["cy"], [], []]
    everything = predict(trained, data, "speech")
    assert each[1].predictions["cy"].value == everything[1].predictions["cy"].value


def test_shares_part_the_batches_without_loss(trained):
    data = Spelled(7)
    whole = predict(trained, data, "speech", batch=3.0)
    for world in (2, 3, 50):
        parts = [
            predict(trained, data, "speech", batch=3.0, share=(rank, world))
            for rank in range(world)
        ]
        assert sorted(chain.from_iterable(parts)) == whole


def test_what_cannot_be_read_is_answered_with_the_reason(trained):
    answers = predict(trained, Broken(8, 40), "speech", batch=1.0)
    assert [answer.id for answer in answers if answer.problem] == ["x44"]
    assert (answers[4].predictions, answers[4].problem) == ({}, "toy.jsonl:5: cannot be read")


def test_every_part_goes_back_into_the_mode_it_had():
    net = model(dropout=0.3).train()
    net.heads["nl"].eval()
    modes = [module.training for module in net.modules()]
    seen = []
    net.heads["language"].register_forward_hook(lambda *_: None)
    scores = net.heads["language"].scores
    net.heads["language"].scores = lambda f: (
        seen.append(net.heads["language"].training),
        scores(f),
    )[1]
    predict(net, Spelled(3), "speech")
    assert seen and not any(seen), "heads predict in evaluation mode"
    with pytest.raises(ValueError, match="no task 'missing'; this model has: nl, cy, language"):
        predict(net, Spelled(3), "speech", tasks=["missing"])
    extract(net, Spelled(3), "speech")
    assert [module.training for module in net.modules()] == modes


def test_a_model_in_training_is_evaluated_without_dropout():
    net = model(dropout=0.5)
    rows = [evaluate(net.train(mode), {"speech": Spelled(6)}).rows for mode in (True, False)]
    assert rows[0] == rows[1]


def test_figures_are_those_of_the_rows(trained):
    net = model(seed=3)
    data = Spelled(13, 40)
    result = evaluate(net, {"speech": data})
    figures = result.tasks()
    assert set(figures) == {"nl", "cy", "language"}
    assert [figures[name]["n"] for name in ("nl", "cy", "language")] == [7, 6, 13]
    import jiwer

    for lang, start in (("nl", 0), ("cy", 1)):
        rows = result.of(lang)
        assert [row.id for row in rows] == data.ids[start::2]
        assert [row.reference for row in rows] == [
            data.labels(i)[lang] for i in range(start, 13, 2)
        ]
        truth, said = [row.reference for row in rows], [row.prediction for row in rows]
        assert figures[lang]["cer"] == pytest.approx(jiwer.cer(truth, said))
        assert figures[lang]["wer"] == pytest.approx(jiwer.wer(truth, said))
    right = np.mean([row.prediction == row.reference for row in result.of("language")])
    assert figures["language"]["accuracy"] == pytest.approx(right)
    expected = (figures["nl"]["cer"] + figures["cy"]["cer"] + 1 - right) / 3
    assert result.score() == pytest.approx(expected)
    perfect = evaluate(trained, {"speech": data})
    assert perfect.score() == 0.0 and perfect.tasks()["language"]["accuracy"] == 1.0


def test_an_example_that_cannot_be_used_counts_as_an_error_and_is_listed(trained):
    result = evaluate(trained, {"speech": Broken(8, 40)})
    figures = result.tasks()
    assert (figures["nl"]["cer"], figures["nl"]["n"], figures["nl"]["skipped"]) == (0.25, 4, 1)
    assert (figures["language"]["accuracy"], figures["language"]["skipped"]) == (7 / 8, 1)
    assert "skipped" not in figures["cy"]
    for task in ("nl", "language"):
        worst = result.worst(task)[0]
        assert (worst.id, worst.problem) == ("x44", "toy.jsonl:5: cannot be read")
        assert (worst.prediction, worst.confidence) == ("", 0.0)


def row(task="nl", errors=0.0, length=4.0, group="", metric="cer", name=""):
    return Row(task, name, group, "", "", 1.0, {metric: (errors, length)})


def test_the_worst_are_those_with_most_errors():
    result = Evaluation([row(errors=e, name=str(e)) for e in (1.0, 3.0, 0.0, 2.0)])
    assert [r.id for r in result.worst("nl", 2)] == ["3.0", "2.0"]
    right = Evaluation([row(errors=e, name=str(e), metric="accuracy") for e in (1.0, 0.0)])
    assert [r.id for r in right.worst("nl")] == ["0.0", "1.0"]


def test_intervals_resample_speakers_where_there_are_some():
    groups = [str(index // 4) for index in range(40)]
    errors = [float(index // 4 % 2) for index in range(40)]
    by_speaker = Evaluation([row(errors=e, group=g) for e, g in zip(errors, groups, strict=True)])
    alone = Evaluation([row(errors=e) for e in errors])
    assert by_speaker.interval("nl", "cer") == bootstrap(errors, [4.0] * 40, groups=groups)
    assert alone.interval("nl", "cer") == bootstrap(errors, [4.0] * 40)
    assert by_speaker.interval("nl", "cer").high > alone.interval("nl", "cer").high


def test_speakers_come_from_the_data(trained):
    result = evaluate(trained, {"speech": Spelled(4)})
    assert [r.group for r in result.of("language")] == ["s0", "s1", "s0", "s1"]


def test_scoring_needs_no_intervals(monkeypatch):
    def costly(*_, **__):
        raise AssertionError("a bootstrap per evaluation is seconds for large sets")

    monkeypatch.setattr(sys.modules["mtl.evaluate"], "bootstrap", costly)
    assert Evaluation([row(errors=1.0)]).score() == 0.25


def test_nothing_to_score_is_an_error():
    with pytest.raises(ValueError, match="no example has a label of a task"):
        Evaluation([]).score()


class Ranks:
    """Stands in for an accelerator on one of several processes."""

    def __init__(self, rank, world):
        self.process_index, self.num_processes = rank, world
        self.autocast = torch.inference_mode


@pytest.mark.parametrize("world", [2, 3, 30])
def test_processes_share_the_work_and_all_get_the_whole(world, trained, monkeypatch):
    """Also with more processes than batches, and whatever order the parts arrive in."""
    data = {"speech": Spelled(9, 40)}
    whole = evaluate(trained, data, batch=3.0)
    own = []
    gather = "accelerate.utils.gather_object"
    monkeypatch.setattr(gather, lambda rows: own.append(rows) or rows)
    for rank in range(world):
        evaluate(trained, data, batch=3.0, accelerator=Ranks(rank, world))
    assert sum(map(len, own)) == len(whole.rows)
    monkeypatch.setattr(gather, lambda rows: list(chain.from_iterable(reversed(own))))
    assert evaluate(trained, data, batch=3.0, accelerator=Ranks(0, world)).rows == whole.rows


def test_extract_averages_the_valid_frames(trained):
    data = Spelled(7)
    for at in (None, "b1"):
        found = extract(trained, data, "speech", at, batch=4.0)
        assert found.shape == (7, 8) and found.dtype == np.float32
        for index in range(7):
            alone = data.example(index).input[None]
            from mtl.batch import Batch

            with torch.no_grad():
                f = trained("speech", Batch(alone, torch.tensor([alone.shape[1]])), ["b1"]).at(at)
            np.testing.assert_allclose(found[index], f.x[0].mean(0), rtol=1e-4, atol=1e-5)


def test_extract_names_what_cannot_be_used_and_what_does_not_exist(trained):
    with pytest.raises(ValueError, match=r"x44: toy.jsonl:5: cannot be read"):
        extract(trained, Broken(8, 40), "speech")
    with pytest.raises(ValueError, match=r"no block \['b9'\]; this encoder has: \['b1', 'b2'\]"):
        extract(trained, Spelled(2), "speech", at="b9")
    with pytest.raises(ValueError, match="no stream 'sound'"):
        extract(trained, Spelled(2), "sound")


def test_chunks_hold_all_examples_within_their_padded_size():
    rng = np.random.default_rng(0)
    for _ in range(50):
        seconds = rng.uniform(0.1, 10, int(rng.integers(1, 40)))
        cut = chunks(seconds, 12.0)
        assert sorted(chain.from_iterable(cut)) == list(range(len(seconds)))
        assert all(len(part) == 1 or len(part) * max(seconds[part]) <= 12.0 for part in cut)
        assert all(cut)


def test_cached_tensors_made_while_predicting_can_be_trained_on():
    """Data are loaded outside inference mode, whose tensors autograd refuses."""

    class Held(Spelled):
        held = {}

        def example(self, index, draw=None, targets=True):
            fresh = super().example(index, 0, targets)
            return fresh._replace(input=self.held.setdefault(index, fresh.input + 0))

    data = Held(3)
    predict(model(), data, "speech", batch=1.0)
    frames = data.example(0).input
    layer = nn.Linear(WIDTH, 1)
    layer(frames).sum().backward()
    assert layer.weight.grad is not None


def test_batches_tasks_and_data_of_nothing_are_refused(trained):
    with pytest.raises(ValueError, match="batch is 0; give the seconds"):
        predict(trained, Spelled(3), "speech", batch=0)
    with pytest.raises(ValueError, match="the data hold no example"):
        extract(trained, Spelled(0), "speech")
    found = evaluate(trained, {"speech": Spelled(4)})
    for ask in (found.of, found.worst, lambda task: found.interval(task, "cer")):
        with pytest.raises(ValueError, match="nothing was evaluated of task 'zz'; there is: cy, "):
            ask("zz")


def test_a_task_in_which_nothing_can_be_counted_has_no_figure():
    """Several labels of which none is there, none said; maps without a labelled pixel."""
    empty = [Row("marks", f"x{n}", "", [], [], 1.0, {"f1": (0.0, 0.0)}) for n in range(3)]
    figures = Evaluation(empty).tasks()["marks"]
    assert np.isnan(figures["f1"]) and figures["f1_interval"] == [-np.inf, np.inf]
    with pytest.raises(ValueError, match="nothing to score"):
        Evaluation(empty).score()
    kind = Row("kind", "x", "", "a", "b", 1.0, {"accuracy": (0.0, 1.0)})
    assert Evaluation([*empty, kind]).score() == 1.0
