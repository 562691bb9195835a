"""Mix: which share of the draws each group of examples (each language, say) gets."""

from collections.abc import Mapping

Mix = str | float | Mapping[str, float]


def shares(sizes: Mapping[str, int], mix: Mix) -> dict[str, float]:
    """Give each group's share of the draws; they add up to 1.

    >>> shares({"en": 90, "nl": 10}, 2.0)["nl"]
    0.25
    >>> shares({"de": 45, "en": 45, "nl": 10}, {"nl": 0.5})
    {'de': 0.25, 'en': 0.25, 'nl': 0.5}
    """
    if isinstance(mix, Mapping):
        return _explicit(sizes, mix)
    powers = {"proportional": 1.0, "uniform": 0.0}
    if isinstance(mix, str) and mix not in powers:
        raise ValueError(f"mix {mix!r}: give proportional, uniform, a temperature or shares")
    if not isinstance(mix, str) and mix <= 0:
        raise ValueError(f"a mixing temperature of {mix} is not positive")
    power = powers[mix] if isinstance(mix, str) else 1 / mix
    weights = {name: size**power for name, size in sizes.items()}
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def _explicit(sizes: Mapping[str, int], mix: Mapping[str, float]) -> dict[str, float]:
    if unknown := set(mix) - set(sizes):
        raise ValueError(f"mix names {sorted(unknown)}; the data has: {', '.join(sizes)}")
    rest = {name: size for name, size in sizes.items() if name not in mix}
    left = 1 - sum(mix.values())
    if min(mix.values(), default=0) < 0 or left < -1e-9 or (not rest and abs(left) > 1e-9):
        raise ValueError(f"mix {dict(mix)}: shares must be positive and add up to at most 1")
    if rest and left <= 1e-9:
        raise ValueError(
            f"mix {dict(mix)} leaves nothing for {', '.join(rest)}; to mean it, give 0"
        )
    total = sum(rest.values())
    return {name: mix[name] if name in mix else left * sizes[name] / total for name in sizes}


def quotas(share: Mapping[str, float], count: int) -> dict[str, int]:
    """Round shares of `count` draws to whole numbers, at least 1 where the share is not 0.

    >>> quotas({"en": 0.98, "nl": 0.02, "de": 0.0}, 20)
    {'en': 20, 'nl': 1, 'de': 0}
    """
    return {name: max(1, round(part * count)) if part > 0 else 0 for name, part in share.items()}
