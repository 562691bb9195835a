import pytest
import torch

from mtl.config import Fit
from mtl.studies.borrowed import END, borrowed, scales, usable
from mtl.studies.lab import Lab
from mtl.studies.sequence import images


@pytest.fixture
def lab(tmp_path):
    settings = Fit(steps=30, precision="no", threads=1, dry_run=False)
    return Lab(images(10, small=True)[0], settings, tmp_path, first_steps=10, strength=1.0)


@pytest.fixture
def model(lab):
    found = lab.network("0-1")
    for task in ("2-3", "4-5"):
        lab.grow(found, task)
        lab.learn(found, task)
    return found


def test_scales_are_those_of_the_laterals(model):
    found = scales(model, "4-5")
    column = model.trunk.column("4-5")
    assert list(found) == ["b2", "b3", END]
    with torch.no_grad():
        column.laterals["b3"].scales.copy_(torch.tensor([0.25, -0.5]))
        column.last.scales.copy_(torch.tensor([0.125, 2.0]))
    found = scales(model, "4-5")
    assert found["b3"] == {"0-1": 0.25, "2-3": -0.5}
    assert found[END] == {"0-1": 0.125, "2-3": 2.0}


def test_columns_with_sources_are_looked_at(lab, model):
    found = borrowed(model, lab, ["0-1", "2-3", "4-5"], 20)
    assert list(found["scales"]) == list(found["fisher"]) == ["2-3", "4-5"]
    assert list(found["perturbation"]) == ["4-5"]
    for table in (found["fisher"]["4-5"], found["perturbation"]["4-5"]):
        assert list(table) == ["0-1", "2-3", "4-5"]
        for block in ("b1", "b2", "b3"):
            assert sum(own[block] for own in table.values()) == pytest.approx(1, abs=1e-3)
    quiet = borrowed(model, lab, ["0-1", "2-3", "4-5"], 20, noise=False)
    assert quiet == found | {"perturbation": {}}
    assert borrowed(model, lab, ["2-3"], 0) == {}
    assert borrowed(lab.network("0-1"), lab, ["0-1"], 5) == {}
    with pytest.raises(ValueError, match="a ResNet has no columns; grow one with `progressive`"):
        scales(lab.network("0-1"), "0-1")


def test_chance_tells_nothing_of_perturbations(lab, model):
    with torch.no_grad():
        model.heads["4-5"].output.weight.zero_()
        model.heads["4-5"].output.bias.copy_(torch.tensor([9.0, 0.0]))
    assert borrowed(model, lab, ["4-5"], 20)["perturbation"] == {}


def test_what_cannot_be_loaded_is_passed_over(lab, model):
    problem = lab.course.tasks["4-5"]
    broken = problem.test[1].__class__("broken", "4", b"no picture")
    problem.test = [problem.test[0], broken, problem.test[2]]
    data = usable(lab, model, "4-5", 3)
    assert data.ids == [problem.test[0].id, problem.test[2].id]
    problem.test = [broken]
    assert usable(lab, model, "4-5", 3) is None
