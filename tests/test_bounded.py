import json
import time

import pytest
from toy import model

from mtl.model import Model


@pytest.fixture
def folder(tmp_path):
    model().save_pretrained(tmp_path / "m")
    return tmp_path / "m"


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("trunk", {"dim": 10**5, "heads": 1}),
        ("trunk", {"depth": 10**9}),
        ("trunk", {"expansion": 10**9}),
        ("stem", {"dim": 2**40}),
    ],
)
def test_a_model_far_larger_than_its_weights_is_refused_at_once(part, change, folder):
    config = json.loads((folder / "config.json").read_text())
    (config["trunk"] if part == "trunk" else config["stems"][0][1]).update(change)
    (folder / "config.json").write_text(json.dumps(config))
    began = time.process_time()
    with pytest.raises(ValueError, match=r"m/config.json: .*(far larger than|memory|storage)"):
        Model.from_pretrained(folder)
    assert time.process_time() - began < 20, "seconds of computing"


def test_a_model_as_large_as_its_weights_is_loaded(folder):
    assert set(Model.from_pretrained(folder).tasks) == {"nl", "cy", "language"}
