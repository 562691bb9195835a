"""The contract of the source tree: who may import whom, and how large a file may grow."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

# A place is a folder ("data/") or a module right below mtl/; "mtl" is what `import mtl` gives.
# A module imports only lower layers.
LAYERS = {
    0: "adversary apart atomic batch bounded catalogue chain decoder gather lateral layers lock measures ops"
    " packing phones rebuilding text translators balance/ cluster/ instances/ score/",
    1: "articulation automodel described encoder exemplar grown head hub members model pieces pooled"
    " registry routed summary foreign/",
    2: "stems/ trunks/ heads/ data/ decode/ config metrics",
    3: "domains lexicon method pretrained tables translating vocabulary",
    4: "methods/ tune/",
    5: "adapt advice balancing checkpoint crossing decoding delta device enrol episodes evaluate export fit"
    " gallery joined joint languages lessons likeness load loading long looks loop made mix mtl naming"
    " optimizer passes polyglot predict prefix prepare problem progress pseudo recogniser rows sat scored"
    " senses sensitivity shift speakers spelling step stream strength study transfer unheard units"
    " update ways",
    6: "across card cause commands/ diagnosis page painted plots report runs studies/ tally together"
    " __main__",
    7: "recipes/",
}
WHERE = "in LAYERS, tests/test_layers.py"
LAYER = {place: layer for layer, places in LAYERS.items() for place in places.split()}
# Here modules beside each other may import each other, as long as no circle arises.
PEERS = [
    {"atomic", "batch", "decoder", "gather", "lateral", "layers", "ops", "packing", "text"},
    {"ops", "rebuilding"},
    {"layers", "translators"},
    set(LAYERS[1].split()),
    {"data/"},
    {"decode/"},
    {"heads/"},  # kinds of CTC heads
    {"domains", "method", "translating"},
    set(LAYERS[5].split()) - {"mtl"},
    set(LAYERS[6].split()),
]
ONLY_IN = {  # optional or heavy packages, and the one file that may import each
    "datasets": "mtl/data/imports/datasets.py",
    "espeakng_loader": "mtl/data/espeak.py",
    "flashlight": "mtl/decode/fusion.py",
    "lhotse": "mtl/data/imports/lhotse.py",
    "onnx": "mtl/export.py",
    "onnxruntime": "mtl/export.py",
    "onnxscript": "mtl/export.py",
    "num2words": "mtl/data/sentences.py",
    "matplotlib": "mtl/plots.py",
    "peft": "mtl/tune/lora.py",
    "sentencepiece": "mtl/pieces.py",
}
LAYER_0_PACKAGES = {"torch", "numpy", "scipy", "sklearn", *sys.stdlib_module_names}
HEAVY = ["accelerate", "jiwer", "peft", "soundfile", "torchaudio", "torchvision", "transformers"]
PRINTS = re.compile(r"mtl/(commands/.*|report|__main__|fit)\.py|recipes/.*")
LINES = {"mtl": 300, "recipes": 150}
PARAMETERS = 8


class Module(NamedTuple):
    path: str  # from the root of the repository
    tree: ast.Module

    @property
    def name(self):
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def place(self):
        return place(self.path.removesuffix(".py").replace("/", "."))

    @property
    def is_package(self):
        return self.path.endswith("/__init__.py")


def place(dotted: str) -> str:
    """The table's name for a module: its folder, or itself where it lies right below mtl/."""
    parts = dotted.removeprefix("mtl.").split(".")
    return parts[0] + "/" if len(parts) > 1 or (ROOT / "mtl" / parts[0]).is_dir() else parts[0]


def imports(module: Module) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of every import in the file, also those inside functions."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            package = module.name.split(".") if node.level else []
            up = len(package) - node.level + module.is_package
            source = ".".join([*package[:up], *filter(None, [node.module])])
            for alias in node.names:
                yield node.lineno, f"{source}.{alias.name}"


def own_imports(module: Module, names: set[str]) -> Iterator[tuple[int, str]]:
    """Those of the imports that reach this project, cut down to the module they name."""
    for line, name in imports(module):
        if name.split(".")[0] in ("mtl", "recipes"):
            parent = name.rpartition(".")[0]
            yield line, name if name in names or not parent else parent


def import_fault(importer: str, imported: str, face: bool = False) -> str | None:
    """Why one place may not import another; `face`: the importer is the folder's __init__."""
    for name in (importer, imported):
        if name not in LAYER:
            return f"'{name}' stands in no layer: enter it {WHERE}"
    above, below = LAYER[importer], LAYER[imported]
    if above > below or (importer == imported and face):
        return None
    if any({importer, imported} <= peers for peers in PEERS):
        return None
    if above == 0 and below == 0 and not imported.endswith("/"):
        return None  # shared maths of the layer-0 folders lies in ops
    return f"{importer} (layer {above}) may not import {imported} (layer {below})"


def read(path: Path) -> Module:
    return Module(path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8")))


MODULES = [read(path) for folder in LINES for path in sorted((ROOT / folder).rglob("*.py"))]
NAMES = {module.name for module in MODULES}
INNER = [module for module in MODULES if module.path != "mtl/__init__.py"]


def report(faults: list[str]) -> None:
    if faults:
        pytest.fail("\n".join(dict.fromkeys(faults)), pytrace=False)


def test_every_module_stands_in_a_layer():
    lost = [module for module in INNER if module.place not in LAYER]
    report([f"{module.path}: enter '{module.place}' {WHERE}" for module in lost])
    assert len(MODULES) > 10, f"the modules were not found below {ROOT}"


def test_imports_point_down():
    faults = []
    for module in INNER:
        for line, name in own_imports(module, NAMES):
            if fault := import_fault(module.place, place(name), face=module.is_package):
                faults.append(f"{module.path}:{line}: imports {name}: {fault}")
    report(faults)


def test_imports_run_in_no_circle():
    graph = {module.name: {name for _, name in own_imports(module, NAMES)} for module in INNER}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("modules import each other in a circle: " + " <- ".join(error.args[1]))


def test_restricted_packages_have_one_home():
    faults = []
    for module in MODULES:
        for line, name in imports(module):
            package = name.split(".")[0]
            if module.path != ONLY_IN.get(package, module.path):
                faults.append(f"{module.path}:{line}: {package} belongs in {ONLY_IN[package]} only")
            outside = package != "mtl" and package not in LAYER_0_PACKAGES
            if LAYER.get(module.place) == 0 and outside:
                faults.append(f"{module.path}:{line}: layer 0 may not import {package}")
    report(faults)


def test_importing_mtl_is_light():
    code = "import json, sys, mtl; print(json.dumps([mtl.__file__, *sys.modules]))"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    file, *loaded = json.loads(out.stdout)
    assert file is not None
    report([f"`import mtl` loads {name}" for name in HEAVY if name in loaded])


def test_files_and_functions_stay_small():
    faults = []
    for module in MODULES:
        lines = len((ROOT / module.path).read_text("utf-8").splitlines())
        if module.path.startswith("recipes"):  # its docstring holds the results
            lines -= len((ast.get_docstring(module.tree, clean=False) or "").splitlines())
        most = LINES[module.path.split("/")[0]]
        if lines > most:
            faults.append(f"{module.path}: {lines} lines; split it, {most} is the most")
        faults += [
            f"{module.path}:{line}: {name} takes {count} parameters; {PARAMETERS} is the most"
            for line, name, count in functions(module.tree)
            if count > PARAMETERS
        ]
    report(faults)


def functions(tree: ast.Module) -> Iterator[tuple[int, str, int]]:
    """(line, name, number of parameters without self and cls) of every function in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            count = len([argument for argument in given if argument.arg not in ("self", "cls")])
            yield node.lineno, node.name, count


def calls(tree: ast.Module, name: str) -> list[int]:
    """Lines that call the name, as a function or as a method."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and name in (getattr(node.func, "id", None), getattr(node.func, "attr", None))
    ]


def test_only_the_top_prints():
    report(
        [
            f"{module.path}:{node.lineno}: print below layer 6; return it or use logging"
            for module in MODULES
            if not PRINTS.fullmatch(module.path)
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "print"
        ]
    )


def test_recipes_leave_the_loop_to_the_library():
    faults = []
    for module in MODULES:
        if module.path.startswith("recipes/"):
            faults += [f"{module.path}:{line}: backward" for line in calls(module.tree, "backward")]
            faults += [
                f"{module.path}:{line}: {name}"
                for line, name in imports(module)
                if name.startswith("torch.optim")
            ]
    report(faults)


def test_docstrings_begin_with_a_name():
    faults = []
    for module in MODULES:
        first = (ast.get_docstring(module.tree) or "").split("\n")[0]
        if not module.is_package and not re.match(r"[^:]{1,40}: \S", first):
            faults.append(f"{module.path}: begins {first!r}; write 'NAME: idea.'")
    report(faults)


# The rules themselves, on sources made up for them


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("heads/", "ops", True),
        ("stems/", "stems/", False),
        ("heads/", "data/", False),
        ("heads/", "decode/", False),
        ("data/", "data/", True),
        ("methods/", "tune/", False),
        ("methods/", "step", False),
        ("method", "methods/", False),
        ("fit", "step", True),
        ("fit", "commands/", False),
        ("fit", "mtl", False),  # the package's own face is for commands and recipes
        ("commands/", "report", True),
        ("recipes/", "mtl", True),
        ("recipes/", "recipes/", False),
        ("score/", "ops", True),
        ("score/", "cluster/", False),
        ("ops", "balance/", False),
        ("utils", "ops", False),
    ],
)
def test_rule_of_layers(importer, imported, allowed):
    assert (import_fault(importer, imported) is None) == allowed


def test_a_folder_may_show_its_own_files():
    assert import_fault("heads/", "heads/", face=True) is None
    assert import_fault("heads/", "data/", face=True) is not None


def test_imports_are_found_and_resolved():
    source = """
import numpy as np
from mtl import ops, Batch
from mtl.data.manifest import read
def late():
    from . import ctc
    from ..batch import pad
"""
    module = Module("mtl/heads/classify.py", ast.parse(source))
    names = {"mtl", "mtl.ops", "mtl.batch", "mtl.data.manifest", "mtl.heads", "mtl.heads.ctc"}
    found = [name for _, name in own_imports(module, names)]
    assert found == ["mtl.ops", "mtl", "mtl.data.manifest", "mtl.heads.ctc", "mtl.batch"]
    face = Module("mtl/heads/__init__.py", ast.parse("from .ctc import CTC"))
    assert [name for _, name in own_imports(face, names)] == ["mtl.heads.ctc"]
    assert [face.place, module.place] == ["heads/", "heads/"]
    assert [place("mtl"), place("mtl.ops"), place("recipes.x")] == ["mtl", "ops", "recipes/"]


def test_parameters_are_counted():
    tree = ast.parse("class A:\n    def f(self, a, /, b, *rest, c=1, **more): pass")
    assert list(functions(tree)) == [(2, "f", 3)]
    assert calls(ast.parse("loss.backward()\nbackward"), "backward") == [1]
