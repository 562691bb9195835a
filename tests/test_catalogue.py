import ast
import re
from pathlib import Path

import pytest

from mtl.__main__ import main
from mtl.catalogue import (
    FIGURES,
    NO_WAYS,
    PLACES,
    TREES,
    WAYS,
    entries,
    first_lines,
    markdown,
    names,
    tree,
    ways,
)
from mtl.commands.list import FOLDERS

ROOT = Path(__file__).parents[1]
START, END = "<!-- the table of `mtl list --table` -->\n", "\n<!-- end of the table -->"


@pytest.mark.parametrize("by", TREES)
def test_every_way_to_transfer_stands_once_in_a_tree_and_no_branch_is_bare(by):
    placed = [(e.folder, e.name) for branch in tree(by).values() for e in branch]
    assert len(placed) == len(set(placed))
    files = {(folder, name) for folder in WAYS for name in names(folder)}
    files -= {tuple(key.split("/")) for key in NO_WAYS}
    assert files <= set(placed), "enter it in PLACES, mtl/catalogue.py, or give it a topic"
    assert all(tree(by).values())


def test_the_tables_name_files_that_there_are():
    known = {f"{folder}/{name}" for folder in FOLDERS for name in names(folder)}
    topics = {f"{entry.folder}: {entry.topic}" for entry in entries(*FOLDERS)}
    assert set(PLACES) <= known | topics | set(FOLDERS)
    assert set(FIGURES) <= known and set(NO_WAYS) <= known


def test_the_textbooks_examples_stand_where_it_puts_them():
    trees = {by: tree(by) for by in TREES}

    def found(by, branch):
        return {entry.name for entry in trees[by][branch]}

    assert {"pcgrad", "lhuc", "l2sp", "tradaboost"} <= found("setting", "inductive")
    assert {"dann", "kmm", "eszsl"} <= found("setting", "transductive")
    assert found("setting", "unsupervised") == {"stc"}
    assert {"sparse_coding", "hubert"} <= found("labels", "unlabelled source, labelled target")
    assert {"kmm", "tradaboost"} <= found("what", "instance")
    assert found("what", "relation") == {"relation"}
    assert found("features", "heterogeneous") == {"frames", "patches"}


def test_every_file_says_what_it_is_and_ways_name_their_paper():
    for entry in entries(*FOLDERS):
        assert entry.idea, f"mtl/{entry.folder}/{entry.name}.py"
    nobodys = {"uniform", "frames"}  # the plain sum, and frames as they come
    assert {entry.name for entry in ways() if not entry.paper} == nobodys


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("CMD: meet. Zellinger et al. 2017. Topic: a b.", ("CMD", "meet", "Zellinger et al. 2017", "a b")),
        ("x: i.\n\nMore 1999. Topic: y.\n\nTopic: z.", ("x", "i", "", "y")),
        ("p: one. Two. A 2001; B et al. 2002, c.", ("p", "one. Two", "A 2001; B et al. 2002, c", "")),
        ("", ("", "", "", "")),
    ],
)  # fmt: skip
def test_first_lines_are_split(line, parts):
    assert first_lines(line) == parts


def test_figures_are_those_of_the_recipes():
    places = {f"{entry.folder}/{entry.name}": entry.place for entry in ways()}
    for key, figure in FIGURES.items():
        recipe = re.search(r"recipes/\w+\.py", places[key].command)
        assert recipe, f"{key} has a figure but no recipe"
        text = ast.get_docstring(ast.parse((ROOT / recipe[0]).read_text("utf-8")))
        for number in re.findall(r"\d*\.\d+", figure):
            assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d])", text), (key, number)


def test_readme_shows_the_table():
    text = (ROOT / "README.md").read_text("utf-8")
    assert START in text, "README.md: put the output of `mtl list --table` between its two marks"
    shown = text.partition(START)[2].partition(END)[0]
    assert shown == markdown(), "README.md: renew the table by `mtl list --table`"


def test_the_command_prints_trees_tables_and_json(capsys):
    assert main(["list", "--by", "setting"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:-1] for line in lines if not line.startswith(" ")] == list(TREES["setting"])
    place = next(n for n, line in enumerate(lines) if line.startswith("  coral "))
    assert lines[place + 1].strip().endswith("recipes/domain_adaptation.py --method coral")
    assert main(["list", "--table"]) == 0
    assert capsys.readouterr().out == markdown() + "\n"
    assert main(["list", "heads", "--by", "what"]) == 1
    assert "leave out 'heads'" in capsys.readouterr().err
