"""signs: what the ten digits look like: segments of a clock's display, and strokes of a pen.

The strokes were written down once, as three tables; that of the three is here which told other classes of
MNIST's training pictures best, in splits (100 to 124) that no figure is reported of.
"""

# a: top, b and c: right, d: bottom, e and f: left, g: middle
LIT = "abcdef bc abdeg abcdg bcfg acdfg acdefg abc abcdefg abcdfg"  # of 0, 1, ... 9
STROKES = {  # how much each digit has of a stroke there
    "top": (1, 0, 1, 1, 0, 1, 0.3, 1, 1, 1),
    "upper left": (1, 0, 0, 0, 1, 1, 1, 0, 1, 1),
    "upper middle": (0, 1, 0, 0, 0, 0, 0.5, 0, 0, 0),
    "upper right": (1, 0, 1, 1, 1, 0, 0, 1, 1, 1),
    "across the middle": (0, 0, 0, 1, 1, 1, 1, 0, 1, 1),
    "through the centre": (0, 1, 0.5, 0, 0, 0, 0, 0.7, 0.3, 0),
    "lower left": (1, 0, 0.5, 0, 0, 0, 1, 0, 1, 0),
    "lower middle": (0, 1, 0, 0, 0.5, 0, 0, 1, 0, 0.5),
    "lower right": (1, 0, 0, 1, 0.5, 1, 1, 0, 1, 0.5),
    "bottom": (1, 0, 1, 1, 0, 1, 1, 0, 1, 0.2),
}
TABLES = ("segments", "strokes")


def digit_attributes(table: str) -> dict[str, list[float]]:
    """Give each digit's attributes, 0 to 1: those of "segments" (7) or "strokes" (10).

    Raises ValueError for another table.

    >>> digit_attributes("segments")["1"]
    [0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """
    if table not in TABLES:
        raise ValueError(f"digits have no attributes {table!r}; choose {' or '.join(TABLES)}")
    if table == "segments":
        rows = [[float(part in has) for part in "abcdefg"] for has in LIT.split()]
    else:
        rows = [[float(has[digit]) for has in STROKES.values()] for digit in range(10)]
    return {str(digit): row for digit, row in enumerate(rows)}
