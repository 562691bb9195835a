import numpy as np
import soundfile
from PIL import Image

from mtl.data.images import Picture, from_arrays
from mtl.data.manifest import read_manifest
from mtl.studies.memory import item_bytes, stored


def test_memory_is_filled_by_chance_up_to_its_room():
    pictures = from_arrays(np.zeros((40, 5, 4), np.uint8), np.arange(40), "made")
    chosen = stored(pictures, 10 * 20 + 19, seed=0)
    assert len(chosen) == 10 == len({picture.id for picture in chosen})
    assert [p.id for p in chosen] == [p.id for p in stored(pictures, 219, seed=0)]
    assert {p.id for p in chosen} != {p.id for p in stored(pictures, 219, seed=1)}
    assert len(stored(pictures, 1, seed=0)) == 1, "one at least"
    assert len(stored(pictures, 10**6, seed=0)) == 40


def test_bytes_are_those_on_the_disk_or_in_memory(tmp_path):
    colours = np.zeros((6, 5, 3), np.uint8)
    Image.fromarray(colours).save(tmp_path / "a.png")
    size = (tmp_path / "a.png").stat().st_size
    assert item_bytes(Picture("a", "x", tmp_path / "a.png")) == size
    assert item_bytes(Picture("a", "x", (tmp_path / "a.png").read_bytes())) == size
    assert (
        item_bytes(Picture("a", "x", colours))
        == 90
        == item_bytes(Picture("a", "x", lambda: colours))
    )


def test_part_of_a_recording_counts_as_its_part_of_the_file(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(32000), 16000)
    np.savez(tmp_path / "m.npz", x=np.zeros((7, 3), np.float32))
    (tmp_path / "m.jsonl").write_text(
        '{"audio_filepath": "a.wav", "duration": 2.0, "text": "a", "id": "whole"}\n'
        '{"audio_filepath": "a.wav", "duration": 0.5, "offset": 1, "text": "a", "id": "part"}\n'
        '{"feature_key": "x", "duration": 0.07, "text": "a", "id": "frames"}\n'
    )
    whole, part, frames = read_manifest(tmp_path / "m.jsonl")
    size = (tmp_path / "a.wav").stat().st_size
    assert (item_bytes(whole), item_bytes(part)) == (size, round(size / 4))
    assert item_bytes(frames) == 7 * 3 * 4
