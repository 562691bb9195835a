"""Recipes as modules, for their tests."""

import importlib.util
import json
import sys
from pathlib import Path

RECIPES = Path(__file__).parents[2] / "recipes"


def load(name):
    """Import a recipe anew, as nobody may see what another test patched in it."""
    spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(recipe, out, *argv):
    """Run a recipe, and give what it wrote to metrics.json."""
    recipe.main([*map(str, argv), "--out", str(out)])
    return json.loads((out / "metrics.json").read_text())


def refuse(*_, **__):
    """Stand in for what must not be reached."""
    raise AssertionError("it trained")
