import unicodedata

import pytest

from mtl.data import espeak
from mtl.phones import phones

TEXTS = {
    "ɣˈudəmˌɔrɣən nˈeː": "ɣ u d ə m ɔ r ɣ ə n _ n eː",
    "": "",
    "  ˈa \t b ": "a _ b",
    "t͡ʃˈɛ d͜ʒ": "t͡ʃ ɛ _ d͜ʒ",  # under a tie one phone
    "tʃ eɪ": "t ʃ _ e ɪ",  # without, two
    "t͡ʃʰː": "t͡ʃʰː",
    "bɔ̃ʒˈuʁ": "b ɔ̃ ʒ u ʁ",
    "kʷʰa n̩ tˤ ɚ a˞": "kʷʰ a _ n̩ _ tˤ _ ɚ _ a˞",
    "ⁿda": "ⁿd a",  # nothing stands before the modifier
    "ni˨˩˦χˈɑu˧˥": "n i ˨˩˦ χ ɑ u ˧˥",
    "ni2χ35": "n i 2 χ 35",
    "la‿ble | ‖ a": "l a b l e _ a",
    's.ˈi.ɜ o-ɜ n^i4 t[oq t`in u" ˈa:': 's. i. ɜ _ o- ɜ _ n^ i 4 _ t[ o q _ t` i n _ u" _ aː',
    "dˈa?s": "d a ʔ s",
    "ˈˌ": "",
}


@pytest.mark.parametrize(("ipa", "wanted"), TEXTS.items())
def test_phones(ipa, wanted):
    assert phones(ipa) == [" " if phone == "_" else phone for phone in wanted.split()]


def test_stress_may_stay():
    assert phones("ɣˈud nˌeː", stress=True) == ["ɣ", "ˈ", "u", "d", " ", "n", "ˌ", "eː"]


def test_equal_phones_are_equal_strings():
    for form in ("NFC", "NFD"):
        found = phones(unicodedata.normalize(form, "çã ɔ̃ˈɔ̰̃"))
        assert found == [unicodedata.normalize("NFC", phone) for phone in ("ç", "ã", " ", "ɔ̃", "ɔ̰̃")]


@pytest.mark.parametrize("wrong", ["a!", "(en)wiː", "a/b", "a+b"])
def test_what_is_no_ipa_is_named(wrong):
    sign = next(char for char in wrong if unicodedata.category(char)[0] in "PS")
    with pytest.raises(ValueError, match=rf"U\+{ord(sign):04X}\) is no IPA; remove it"):
        phones(wrong)


def test_everything_that_espeak_writes_is_cut_and_nothing_lost():
    """In all its languages; by another way of cutting: diacritics join what is before them."""
    sample = "one, 2 days; Zürich año mañana? 你好 привет नमस्ते γειά xin chào สวัสดี"
    for language in espeak.languages():
        if language in ("fo", "kaa", "xex"):  # no dictionary in this build
            continue
        ipa = unicodedata.normalize("NFC", espeak.ipa(sample, language))
        found = phones(ipa, stress=True)
        assert "".join(found) == ipa.replace(":", "ː").replace("?", "ʔ"), language
        for phone in found:
            bases = [char for char in phone if unicodedata.category(char) in ("Ll", "Lo", "Lu")]
            tied = any(tie in phone for tie in "\u0361\u035c")
            assert len(bases) <= 1 + tied, (language, phone)
