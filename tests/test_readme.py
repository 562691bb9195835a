"""README.md keeps its word: its commands are the ones CI runs and its Python blocks run in order."""

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

README = Path(__file__).parents[1] / "README.md"
COMMANDS = [
    "pip install '.[corpus]' && accelerate launch recipes/multilingual_asr.py",
    "pip install '.[dev]' && pytest",
]
BLOCK = re.compile(
    r"(?:^<!-- not run:\s*(?P<reason>(?:(?!\s*-->).)*)\s*-->\s*)?^```python\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    line: int
    code: str
    reason: str | None  # why it is not run; None: it is


def blocks(text: str) -> list[Block]:
    return [
        Block(text.count("\n", 0, match.start("code")) + 1, match["code"], match["reason"])
        for match in BLOCK.finditer(text)
    ]


def run(block: Block, namespace: dict) -> None:
    # empty lines in front, so that a traceback shows README's own line number
    code = "\n" * (block.line - 1) + block.code
    exec(compile(code, str(README), "exec"), namespace)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_there_literally(command):
    assert command in README.read_text("utf-8")


def test_skipped_blocks_say_why():
    text = README.read_text("utf-8")
    assert len(blocks(text)) == len(re.findall("```py", text)), "fence blocks as BLOCK reads them"
    silent = [block.line for block in blocks(text) if block.reason == ""]
    assert not silent, f"README.md: the blocks on lines {silent} are not run and give no reason"


def test_blocks_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = ModuleType("readme")
    monkeypatch.setitem(sys.modules, "readme", module)  # dataclasses and pickle look it up
    live = [block for block in blocks(README.read_text("utf-8")) if block.reason is None]
    assert live, "README.md runs no Python block at all"
    for block in live:
        run(block, module.__dict__)


MADE_UP = """# Title
<!-- another comment -->
```python
x = 1
```
<!-- not run: needs a download -->

```python
x = missing
```
<!-- not run: -->
```python
y
```
```bash
x = 3
```
```python
x += 1
raise_here
```
"""


def test_blocks_are_found():
    found = [(block.line, block.code.strip(), block.reason) for block in blocks(MADE_UP)]
    assert found == [
        (4, "x = 1", None),
        (9, "x = missing", "needs a download"),
        (13, "y", ""),
        (19, "x += 1\nraise_here", None),
    ]


def test_blocks_share_names_and_fail_on_their_line():
    first, _, _, last = blocks(MADE_UP)
    names = {}
    run(first, names)
    with pytest.raises(NameError, match="raise_here") as error:
        run(last, names)
    assert names["x"] == 2
    assert error.traceback[-1].lineno + 1 == 20
