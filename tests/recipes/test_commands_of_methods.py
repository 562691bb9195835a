"""The commands that `mtl list --by` gives can be given: options parse, and what they name is there."""

import shlex
from collections import defaultdict
from importlib.util import find_spec

import pytest
from loading import RECIPES, load

from mtl.adapt import Adapt, read_method
from mtl.catalogue import names, ways
from mtl.config import parse
from mtl.studies.arms import ARMS as ORDERED
from mtl.studies.trials import ARMS as SHOTS
from mtl.studies.unseen import ARMS as UNSEEN
from mtl.ways import read_ways

COMMANDS = defaultdict(list)  # by recipe or module
for way in ways():
    *launch, place, options = [*way.place.command.split(" ", 3), ""][:4]
    COMMANDS[place if launch[0] == "accelerate" else "pydoc " + options].append(options)


def known(config):
    """Look up the names that a recipe's option holds."""
    for option, there in (
        ("method", names("methods")),
        ("balance", names("balance")),
        ("arms", {*ORDERED, *SHOTS, *UNSEEN}),
    ):
        if value := getattr(config, option, ""):
            assert set(value.split(",")) <= {*there}, value
    if hasattr(config, "ways"):
        read_ways(config.ways)
    for method in getattr(config, "adapt", "").split(","):
        if method:
            read_method(method, Adapt())


def test_all_kinds_of_commands_are_looked_at():
    assert {shlex.split(way.place.command)[0] for way in ways()} == {"accelerate", "python"}


@pytest.mark.parametrize("place", COMMANDS)
def test_a_command_parses(place):
    if place.startswith("pydoc "):
        assert find_spec(place.removeprefix("pydoc ")), place
        return
    name = place.removeprefix("recipes/").removesuffix(".py")
    assert (RECIPES / f"{name}.py").is_file(), place
    recipe = load(name)
    for options in dict.fromkeys(COMMANDS[place]):
        known(parse(recipe.Config, "", shlex.split(options), name))
