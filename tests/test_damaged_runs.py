"""Damage to what a run has kept is noticed, and costs what was damaged alone."""

import pytest
from toy import assert_same_weights, model, train

from mtl import checkpoint


@pytest.mark.parametrize("name", ["step.safetensors", "optimizer.pt", "state.json", "digests.json"])
def test_a_flipped_bit_is_noticed(name, tmp_path):
    """The formats do not: weights would be wrong, and settings be another run's."""
    whole = train(out=tmp_path, save_every=4)
    path = tmp_path / f"checkpoints/step-00000010/{name}"
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 4
    path.write_bytes(data)
    with pytest.warns(UserWarning, match="step-00000010 is damaged .*using the one before"):
        again = train(out=tmp_path, net=model(seed=1), save_every=4)
    assert_same_weights(whole.model, again.model)


def test_a_checkpoint_of_old_has_no_digests(tmp_path):
    whole = train(out=tmp_path)
    (tmp_path / "checkpoints/step-00000010/digests.json").unlink()
    assert_same_weights(whole.model, train(out=tmp_path, net=model(seed=1)).model)


def test_damaged_checkpoints_do_not_push_out_new_ones(tmp_path, monkeypatch):
    """They are newer, by their steps: what a run saves after them would be deleted at once."""
    train(out=tmp_path, save_every=2, keep=2)
    folder, kept = tmp_path / "checkpoints", []
    for step in (8, 10):
        (folder / f"step-{step:08d}/state.json").unlink()
    prune = checkpoint.prune
    monkeypatch.setattr(
        checkpoint, "prune", lambda *a: [prune(*a), kept.append(checkpoint.steps(folder))]
    )
    with pytest.warns(UserWarning, match="is damaged"):
        train(out=tmp_path, save_every=2, keep=2)
    assert kept == [[2, 8, 10], [2, 4, 8, 10], [4, 6, 8, 10], [6, 8, 10], [8, 10]]


def test_a_damaged_history_loses_its_damaged_lines(tmp_path):
    train(out=tmp_path, log_every=2)
    path = tmp_path / "checkpoints/history.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"\xff\xfe\n", b"[1]\n", b'{"stop": 3}\n', *lines[2:]]))
    again = train(out=tmp_path, log_every=2)
    assert [entry["step"] for entry in again.history] == [2, 6, 8, 10]
