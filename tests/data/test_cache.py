import errno
import os
from pathlib import Path

import pytest
import torch

from mtl.data import cache as module
from mtl.data.cache import Cache, content_key


class Counted:
    """Computes a tensor and counts how often."""

    def __init__(self, value=None):
        self.calls = 0
        self.value = torch.randn(50, 20) if value is None else value

    def __call__(self):
        self.calls += 1
        return self.value


@pytest.mark.parametrize("folder", [False, True])
def test_first_and_later_answers_are_equal(folder, tmp_path):
    cache, compute = Cache(folder=tmp_path if folder else None), Counted()
    first, second = cache.get("a", compute), cache.get("a", compute)
    third = Cache(folder=tmp_path).get("a", compute) if folder else cache.get("a", compute)
    assert first.equal(second) and first.equal(third) and first.dtype == torch.float32
    assert compute.calls == 1
    torch.testing.assert_close(first, compute.value, rtol=5e-4, atol=1e-6)


def test_changing_an_answer_does_not_change_the_next():
    cache = Cache()
    cache.get("a", lambda: torch.ones(3)).zero_()
    assert cache.get("a", lambda: torch.zeros(3)).sum() == 3


def test_memory_is_bounded_and_the_least_used_goes_first():
    cache = Cache(megabytes=1)
    quarter = torch.zeros(2**17)  # 256 KiB in 16 bits
    for key in "abcd":
        cache.get(key, lambda: quarter)
    cache.get("a", Counted(quarter))
    cache.get("e", lambda: quarter)
    assert cache._bytes == 2**20 and list(cache._held) == ["c", "d", "a", "e"]
    compute = Counted(quarter)
    cache.get("a", compute), cache.get("b", compute)
    assert compute.calls == 1


def test_what_is_larger_than_the_cache_is_computed_each_time():
    cache, compute = Cache(megabytes=0.001), Counted()
    for _ in range(2):
        assert cache.get("a", compute).shape == (50, 20)
    assert compute.calls == 2 and cache._bytes == 0


def only_file(folder):
    (path,) = folder.rglob("*.cache")
    return path


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "header": lambda path: path.write_bytes(path.read_bytes()[:40]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not an array"),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"0"),
    "folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_computed_again(damage, tmp_path):
    compute = Counted()
    first = Cache(folder=tmp_path).get("a", compute)
    DAMAGE[damage](only_file(tmp_path))
    assert Cache(folder=tmp_path).get("a", compute).equal(first) and compute.calls == 2
    if damage != "folder":
        assert Cache(folder=tmp_path).get("a", compute).equal(first) and compute.calls == 2


def test_any_changed_byte_is_noticed(tmp_path):
    compute = Counted()
    first = Cache(folder=tmp_path).get("a", compute)
    path = only_file(tmp_path)
    whole = path.read_bytes()
    for place in [*range(200), len(whole) - 1]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        assert Cache(folder=tmp_path).get("a", compute).equal(first)
    assert compute.calls == 1 + 201


@pytest.mark.parametrize("call", ["mkdir", "write_bytes", "replace"])
def test_a_full_disk_costs_the_cache_not_the_run(call, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    compute = Counted()
    with monkeypatch.context() as patch:
        patch.setattr(Path, call, full)
        found = Cache(folder=tmp_path / "cache").get("a", compute)
    assert found.equal(compute.value.half().float())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_key_follows_the_content_and_the_settings(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"sound"), two.write_bytes(b"sound")
    assert content_key(one, 80) == content_key(two, 80) != content_key(one, 40)
    one.write_bytes(b"other sound")
    assert content_key(one, 80) != content_key(two, 80)
    with pytest.raises(FileNotFoundError):
        content_key(tmp_path / "missing")


def test_a_key_notices_a_change_of_the_same_size(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"sound")
    before = content_key(path)
    path.write_bytes(b"noise")
    os.utime(path, ns=(1, 1))  # file systems have coarse clocks
    assert content_key(path) != before


def test_a_file_is_read_once_as_long_as_it_stays(tmp_path, monkeypatch):
    path = tmp_path / "long.wav"
    path.write_bytes(b"sound")
    first = content_key(path, 1)
    monkeypatch.setattr(module.hashlib, "file_digest", None)
    assert content_key(path, 1) == first
