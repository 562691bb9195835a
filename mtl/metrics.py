"""metrics: error rates as sums over examples, with intervals that say how sure they are.

A metric gives every example a numerator and a denominator; the figure for a set is the ratio of the
sums. Character, word and classification error then share one bootstrap.
"""

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from mtl import measures

Vector = Sequence[float] | npt.NDArray[Any]
Groups = Sequence[Hashable] | npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

DRAWS = 1000
FEW = 6  # the range of n units misses their centre with chance 2 ** (1 - n): 3 % for six
CHUNK = 2_000_000  # indices held at once: 16 MB, however many examples there are


class Interval(NamedTuple):
    """The two ends of a confidence interval."""

    low: float
    high: float


class Metric(NamedTuple):
    """What is measured on one example, and which way is better."""

    name: str
    per_example: Callable[[Any, Any], tuple[float, float]]
    """(reference, prediction) -> (numerator, denominator)."""
    direction: Literal["min", "max"]
    scale: Callable[[Sequence[Any]], float] | None = None
    """References -> by what to divide a figure that has their unit; None: it is a fraction."""


def edits(reference: str, hypothesis: str, unit: Literal["word", "char"]) -> tuple[int, int]:
    """Edit operations that turn the hypothesis into the reference, and the reference's length.

    Both texts are taken as NFC. Runs of white space count as one space and none is left at the ends;
    a space is a character. An empty reference has length 0 and as many errors as the hypothesis
    has units.

    >>> edits("the cat sat", "the bat", "word")
    (2, 3)
    >>> edits("", "uh", "char")
    (2, 0)
    """
    import jiwer

    reference, hypothesis = " ".join(reference.split()), " ".join(hypothesis.split())
    out: jiwer.WordOutput | jiwer.CharacterOutput
    if unit == "word":
        out = jiwer.process_words(reference, hypothesis)
    elif unit == "char":
        out = jiwer.process_characters(reference, hypothesis)
    else:
        raise ValueError(f"unit is {unit!r}; use 'word' or 'char'")
    missed = out.substitutions + out.deletions
    return missed + out.insertions, missed + out.hits


def phone_edits(reference: str, hypothesis: str) -> tuple[int, int]:
    """Edit operations between phones that stand apart by spaces, as `edits` counts words.

    "|", which parts words, does not count.

    >>> phone_edits("n eː | d ə n", "n eː d ɛ")
    (2, 5)
    """
    return edits(reference.replace("|", " "), hypothesis.replace("|", " "), "word")


def error_rate(errors: Vector, lengths: Vector) -> float:
    """Summed errors over summed lengths, a fraction; it exceeds 1 where insertions abound.

    Raises ValueError where nothing is given, the two differ in size, or the lengths sum to 0.

    >>> error_rate([1, 0, 2], [4, 3, 5])
    0.25
    """
    top, bottom = _columns(errors=errors, lengths=lengths)
    return float(top.sum() / bottom.sum())


def bootstrap(
    numerators: Vector,
    denominators: Vector,
    *,
    groups: Groups | None = None,
    draws: int = DRAWS,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Interval of sum(numerators) / sum(denominators) under resampling.

    Whole groups (speakers) are drawn where `groups` names one per example, since the utterances of
    one speaker are not independent; else single examples. The percentiles are moved outwards for
    few units (Hesterberg 2015, "expanded percentile"); below six units, where no percentile can
    reach 95 %, it is the estimate plus and minus Student's t times the bootstrap's standard error,
    and one unit alone bounds nothing: (-inf, inf). Raises ValueError as `error_rate` does.

    >>> bootstrap([0, 1] * 50, [1] * 100)
    Interval(low=0.4, high=0.6)
    """
    columns = _columns(numerators=numerators, denominators=denominators)
    (top, bottom), units = _resampled(columns, groups, draws, seed)
    return _interval(_ratio(top, bottom), units, level)


def bootstrap_difference(
    a_numerators: Vector,
    a_denominators: Vector,
    b_numerators: Vector,
    b_denominators: Vector,
    *,
    groups: Groups | None = None,
    relative: bool = False,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Paired interval of rate a minus rate b; entry i of all four belongs to the same example.

    `relative` gives (a - b) / a instead: the share of a's errors that b removes, where no errors on
    either side count as 0. Groups, single units and errors are as in `bootstrap`.

    >>> bootstrap_difference([2, 4] * 10, [8] * 20, [1, 2] * 10, [8] * 20, relative=True)
    Interval(low=0.5, high=0.5)
    """
    columns = _columns(
        a_numerators=a_numerators,
        a_denominators=a_denominators,
        b_numerators=b_numerators,
        b_denominators=b_denominators,
    )
    sums, units = _resampled(columns, groups, DRAWS, seed)
    a, b = _ratio(sums[0], sums[1]), _ratio(sums[2], sums[3])
    difference = a - b
    if relative:
        with np.errstate(divide="ignore", invalid="ignore"):
            difference = np.where(difference == 0, 0.0, difference / a)
    return _interval(difference, units, level)


def mean_and_range(values: Vector) -> tuple[float, float, float]:
    """Mean, smallest and largest of the values, one per seed. Raises ValueError where none.

    >>> mean_and_range([0.25, 0.5, 0.75])
    (0.5, 0.25, 0.75)
    """
    (column,) = _columns(values=values)
    return float(column.mean()), float(column.min()), float(column.max())


def seed_interval(values: Vector, level: float = 0.95) -> Interval:
    """Student t interval of the mean over seeds; infinite for one seed, ValueError for none.

    >>> low, high = seed_interval([1.0, 2.0, 3.0])
    >>> round(low, 3), round(high, 3)
    (-0.484, 4.484)
    """
    (column,) = _columns(values=values)
    if len(column) == 1:
        return Interval(-math.inf, math.inf)
    error = float(column.std(ddof=1)) / math.sqrt(len(column))
    reach = t_quantile(level, len(column) - 1) * error
    return Interval(float(column.mean()) - reach, float(column.mean()) + reach)


def t_quantile(level: float, df: int) -> float:
    """The t with P(|T| < t) = level for Student's T with a whole number of degrees of freedom.

    Bisects the finite series of Abramowitz and Stegun 26.7.3-4, so that no scipy is needed.

    >>> round(t_quantile(0.95, 2), 4)
    4.3027
    """
    if not 0 < level < 1 or df < 1:
        raise ValueError(f"level is {level} and df {df}; use 0 < level < 1 and df >= 1")
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        low, high = (angle, high) if _t_central(angle, df) < level else (low, angle)
    return math.sqrt(df) * math.tan((low + high) / 2)


def verdict(interval: Interval) -> Literal["true", "false", "undecided"]:
    """What an interval of a difference says about the claim that the difference is above 0.

    No difference at all decides nothing: equal results refute no better than they prove.

    >>> verdict(Interval(0.01, 0.2)), verdict(Interval(-0.2, 0.0)), verdict(Interval(-0.1, 0.2))
    ('true', 'false', 'undecided')
    """
    if interval.low > 0:
        return "true"
    return "false" if interval.low < 0 >= interval.high else "undecided"


METRICS = {
    metric.name: metric
    for metric in (
        Metric("cer", lambda reference, text: edits(reference, text, "char"), "min"),
        Metric("wer", lambda reference, text: edits(reference, text, "word"), "min"),
        Metric("per", phone_edits, "min"),
        Metric("accuracy", lambda reference, label: (float(reference == label), 1.0), "max"),
        Metric("error", lambda reference, label: (float(reference != label), 1.0), "min"),
        Metric("f1", measures.f1, "max"),
        Metric("exact", lambda reference, labels: (float(reference == labels), 1.0), "max"),
        Metric("mae", measures.mae, "min", measures.spread),
        Metric("iou", measures.iou, "max"),
        Metric("pixel_accuracy", measures.pixel_accuracy, "max"),
    )
}


def _columns(**named: Vector) -> Floats:
    """The named vectors as rows (K, N), checked; rows named lengths or denominators sum above 0."""
    rows = {name: np.asarray(values, dtype=np.float64) for name, values in named.items()}
    sizes = {name: row.shape for name, row in rows.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"sizes differ: {sizes}; give one entry per example to each")
    for name, row in rows.items():
        if row.ndim != 1 or row.size == 0:
            raise ValueError(f"{name} has shape {row.shape}; give a vector of at least one entry")
        if not np.isfinite(row).all():
            where = int(np.flatnonzero(~np.isfinite(row))[0])
            raise ValueError(f"{name}[{where}] is {row[where]}; give finite numbers")
        if name.endswith(("lengths", "denominators")) and not row.sum() > 0:
            raise ValueError(f"{name} sum to {row.sum()}; a rate needs a sum above 0")
    return np.stack(list(rows.values()))


def _resampled(columns: Floats, groups: Groups | None, draws: int, seed: int) -> tuple[Floats, int]:
    """Sums of the columns (K, 1 + draws), of all units first and then of drawn ones; the units."""
    if groups is not None:
        columns = _per_group(columns, groups)
    units = columns.shape[1]
    rng = np.random.default_rng(seed)
    sums = [columns.sum(axis=1, keepdims=True)]
    for rows in _chunks(draws, max(1, CHUNK // units)):
        drawn = rng.integers(units, size=(rows, units))
        sums.append(np.stack([column[drawn].sum(axis=1) for column in columns]))
    return np.concatenate(sums, axis=1), units


def _per_group(columns: Floats, groups: Groups) -> Floats:
    """Columns (K, N) summed within each group (K, groups)."""
    if len(groups) != columns.shape[1]:
        raise ValueError(f"groups names {len(groups)} examples of {columns.shape[1]}; name each")
    index = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    where = np.array([index[group] for group in groups])
    return np.stack([np.bincount(where, column, len(index)) for column in columns])


def _chunks(total: int, size: int) -> Iterator[int]:
    """Sizes that add up to the total, none above `size`."""
    for start in range(0, total, size):
        yield min(size, total - start)


def _ratio(top: Floats, bottom: Floats) -> Floats:
    """Top over bottom, NaN where a draw caught nothing but empty references."""
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)


def _interval(values: Floats, units: int, level: float) -> Interval:
    """What `bootstrap` promises, from the estimate and the draws after it (1 + draws,)."""
    estimate, drawn = values[0], values[1:]
    drawn = drawn[~np.isnan(drawn)]
    # A faultless run makes shares of its error infinite, which have no deviation.
    endless = units < FEW and np.isinf([estimate, *drawn]).any()
    if units < 2 or drawn.size == 0 or endless:
        return Interval(-math.inf, math.inf)
    # the bootstrap's variance is (units - 1) / units of the unbiased one
    stretched = t_quantile(level, units - 1) * math.sqrt(units / (units - 1))
    if units < FEW:
        reach = stretched * drawn.std()
        return Interval(float(estimate - reach), float(estimate + reach))
    tail = NormalDist().cdf(-stretched)
    # values that occurred: draws of a relative difference may be infinite
    low = np.quantile(drawn, tail, method="lower")
    high = np.quantile(drawn, 1 - tail, method="higher")
    return Interval(float(low), float(high))


def _t_central(angle: float, df: int) -> float:
    """P(|T| < sqrt(df) tan(angle)), Abramowitz and Stegun 26.7.3 (odd df) and 26.7.4 (even)."""
    odd = df % 2
    k = np.arange(1 + odd, df, 2)
    terms = np.cumprod(np.append(1.0, math.cos(angle) ** 2 * k / (k + 1)))[:-1]
    series = math.sin(angle) * float(terms.sum())
    return 2 / math.pi * (angle + math.cos(angle) * series) if odd else series
