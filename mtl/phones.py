"""phones: an IPA string cut into phones, as espeak-ng writes it. International Phonetic Association 2020."""

import unicodedata

WORD = " "  # stands between words, a symbol of its own
STRESS = "\u02c8\u02cc"  # before the syllable
_BREAKS = "|\u2016"  # of groups, and so of words
_UNHEARD = "\u203f\u200d"  # links of words, joiners
_TIES = "\u035c\u0361\u0362"
_HOOK = "\u02de"  # r-coloured, a sign to Unicode
_MARKS = frozenset(
    '-.`^["#' + _HOOK
)  # in espeak-ng's IPA some marks of its own alphabet are left over
_LEFT_OVER = str.maketrans({":": "\u02d0", "?": "\u0294"})  # and so are these two
_TONES = frozenset("\u02e5\u02e6\u02e7\u02e8\u02e9\ua71b\ua71c\u2197\u2198")


def phones(ipa: str, stress: bool = False) -> list[str]:
    """Cut an IPA string into phones, and " " between words.

    A phone is a letter with its diacritics, modifier letters and length marks; letters under a tie bar are
    one phone, letters without are two, as espeak-ng writes affricates and diphthongs. Modifiers that
    nothing stands before belong to the letter behind them. A run of tone letters or digits is a symbol of its
    own, so that tones and vowels need not be learnt in every pair. Stress marks are dropped, or kept as
    symbols of their own; links of words are dropped, breaks of groups part words. Equal phones are equal
    strings (NFC).

    Where espeak-ng has no IPA for a phone it leaves signs of its own behind the letter, which belong to it:
    Mandarin `s.` is another phone than `s`. Take the breaks of syllables out of IPA from elsewhere, as
    their dots would be read like that. Raises ValueError for what neither writes.

    >>> phones("ɣˈudəmˌɔrɣən nˈeː")
    ['ɣ', 'u', 'd', 'ə', 'm', 'ɔ', 'r', 'ɣ', 'ə', 'n', ' ', 'n', 'eː']
    >>> phones("t͡ʃˈɛ", stress=True)
    ['t͡ʃ', 'ˈ', 'ɛ']
    """
    found: list[str] = []
    for char in unicodedata.normalize("NFC", ipa).translate(_LEFT_OVER):
        if char.isspace() or char in _BREAKS:
            if found and found[-1] != WORD:
                found.append(WORD)
        elif char in STRESS:
            found.extend(char * stress)
        elif char in _UNHEARD:
            continue
        elif found and _joins(char, found[-1]):
            found[-1] += char
        else:
            _check(char, ipa)
            found.append(char)
    return found[:-1] if found[-1:] == [WORD] else found


def _joins(char: str, phone: str) -> bool:
    """Say whether a character belongs to the phone, or the tones, before it."""
    if phone in (WORD, *STRESS):
        return False
    if is_tone(char) or is_tone(phone[-1]):
        return is_tone(char) and is_tone(phone[-1])
    return _is_modifier(char) or phone[-1] in _TIES or all(map(_is_modifier, phone))


def is_tone(char: str) -> bool:
    """Say whether a character writes a tone: a tone letter or a digit."""
    return char in _TONES or unicodedata.category(char)[0] == "N"


def _is_modifier(char: str) -> bool:
    return char in _MARKS or unicodedata.category(char) in ("Mn", "Lm")


def _check(char: str, ipa: str) -> None:
    if not (is_tone(char) or _is_modifier(char) or unicodedata.category(char)[0] == "L"):
        raise ValueError(f"phonemes {ipa!r}: {char!r} (U+{ord(char):04X}) is no IPA; remove it")
