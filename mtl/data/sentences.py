"""sentences: endless spelled-out sentences about numbers, dates, times and prices.

A language is a tiny grammar: `say` holds its sentences, the other lines what a {slot} in them may
become, and the lower slots (`_NUMBERS`) are numbers spelled by num2words. Only its cardinals and
ordinals are used, besides the years of two languages: its currencies and dates are wrong in many.
A language without a grammar gets bare numbers.
"""

import difflib
import functools
import random
import re
import unicodedata
from collections.abc import Callable, Collection
from typing import Any

Grammar = dict[str, tuple[str, ...]]
SHORTEST, LONGEST = 18, 60  # characters: about 1.5 to 5 seconds of speech

_ENGLISH = """
say: the train leaves at {clock}|{who} comes on {weekday} at {clock}|page {big}|{thing} costs {price}
say: {weekday} the {o} of {month}|the {o} of {month} {year}|my number is {tel}|call {who} on {tel}
say: {where} is {n} miles from {where}|room {big} on the {o} floor|turn left after {n} metres
say: {who} was born in {year}|it is {clock} in {where}|{big} people live near {where}|take bus {big}
say: {who} found {n} letters in {month}|the {o} question is on page {big}|{n} point {tel} per cent
say: add {n} to {big}|{thing} was made in {year}|we need {n} minutes and {n} seconds|exactly {big}
say: {who} won the {o} race in {where}|the shop in {where} closes at {clock}|flight {tel} is late
clock: {min} past {h}|{min} to {h}|quarter past {h}|half past {h}|quarter to {h}|{h} {min}
price: {n} dollars|{n} dollars and {n} cents|{n} euros {n}|{n} pounds|only {n} cents
month: january|february|march|april|may|june|july|august|september|october|november|december
weekday: monday|tuesday|wednesday|thursday|friday|saturday|sunday
thing: the red coat|an old map|this blue chair|the silver watch|a fresh loaf|her green bicycle
who: anna|my brother|the doctor|our teacher|peter|your neighbour|the young queen|uncle joe
where: london|the harbour|oxford|the village|dublin|the castle|glasgow|the bridge
"""
_GERMAN = """
say: der zug fährt um {clock}|{who} kommt am {weekday} um {clock}|seite {big}|{thing} kostet {price}
say: {weekday} der {o} {month}|am {o}n {month} {year}|meine nummer ist {tel}|ruf {who} an unter {tel}
say: nach {where} sind es {n} kilometer|zimmer {big} im {o}n stock|nach {n} metern links abbiegen
say: {who} ist im jahr {year} geboren|es ist {clock} in {where}|{big} menschen wohnen bei {where}
say: {who} fand {n} briefe im {month}|die {o} frage steht auf seite {big}|{n} komma {tel} prozent
say: {n} plus {n} ist nicht {big}|wir brauchen noch {n} minuten|genau {big}|linie {big} hält nicht
say: {who} gewann das {o} rennen in {where}|das geschäft schließt um {clock}|flug {tel} ist verspätet
clock: {min} nach {h}|{min} vor {h}|viertel nach {h}|halb {h}|viertel vor {h}|{h} uhr {min}
price: {n} euro|{n} euro {n}|nur {n} cent|{n} franken
month: januar|februar|märz|april|mai|juni|juli|august|september|oktober|november|dezember
weekday: montag|dienstag|mittwoch|donnerstag|freitag|samstag|sonntag
thing: der rote mantel|die alte karte|dieser stuhl|die silberne uhr|ein frisches brot|ihr fahrrad
who: anna|mein bruder|unser lehrer|peter|frau schmidt|die junge königin|onkel jürgen|deine nachbarin
where: berlin|hamburg|köln|wien|zürich|dresden|münchen|bremen
"""
_FRENCH = """
say: le train part à {clock}|{who} arrive {weekday} à {clock}|page {big}|{thing} coûte {price}
say: {weekday} {day} {month}|le {day} {month} {year}|mon numéro est le {tel}|appelez {who} au {tel}
say: il reste {n} kilomètres jusqu'à {where}|chambre {big} au {o} étage|tournez après {n} mètres
say: {who} est né en {year}|il est {clock} à {where}|{big} habitants près de {where}|ligne {big}
say: {who} a reçu {n} lettres en {month}|{thing} est au {o} étage|{n} virgule {tel} pour cent
say: {n} plus {n} ne font pas {big}|il faut encore {n} minutes|exactement {big}|le vol {tel} est annulé
say: {who} a gagné le {o} prix à {where}|le magasin ferme à {clock}|voici le {o} chapitre du livre
clock: {h} heures {min}|{h} heures et quart|{h} heures et demie|{h} heures moins le quart
price: {n} euros|{n} euros {n}|seulement {n} centimes|{n} dollars
month: janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|novembre|décembre
weekday: lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche
thing: le manteau rouge|une vieille carte|cette chaise|la montre en argent|le pain frais|son vélo vert
who: jean|mon frère|le médecin|notre voisin|pierre|le jeune roi|l'oncle paul|ton professeur
where: paris|lyon|bordeaux|marseille|lille|genève|nantes|strasbourg
"""
_SPANISH = """
say: el tren sale a {clock}|{who} llega el {weekday} a {clock}|página {big}|{thing} cuesta {price}
say: {weekday} {day} de {month}|el {day} de {month} de {year}|mi número es el {tel}|llama al {tel}
say: faltan {n} kilómetros hasta {where}|el piso {o} a la derecha|gire después de {n} metros
say: {who} nació en {year}|son {clock} en {where}|la puerta {big} en {where}|autobús {big}
say: {who} recibió {n} libros en {month}|el capítulo {o} del libro|el {n} coma {tel} por ciento
say: {n} más {n} no son {big}|faltan todavía {n} minutos|exactamente {big}|el vuelo {tel} va con retraso
say: {who} ganó el premio {o} en {where}|la tienda cierra a {clock}|habitación {big} sin vistas
clock: las {h} y {min}|las {h} y cuarto|las {h} y media|las {h} menos cuarto
price: {n} euros|{n} euros con {n} céntimos|solo {n} céntimos|{n} dólares
month: enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre
weekday: lunes|martes|miércoles|jueves|viernes|sábado|domingo
thing: el abrigo rojo|un mapa viejo|esta silla|el reloj de plata|el pan fresco|su bicicleta verde
who: ana|mi hermano|el médico|nuestra vecina|pedro|la joven reina|el tío josé|tu profesora
where: madrid|sevilla|valencia|bilbao|granada|toledo|lima|bogotá
"""
_ITALIAN = """
say: il treno parte alle {clock}|{who} arriva {weekday} alle {clock}|pagina {big}|{thing} costa {price}
say: {weekday} {day} {month}|il giorno {day} {month} {year}|il mio numero è {tel}|chiama {who} al {tel}
say: mancano {n} chilometri per {where}|il piano {o} a destra|gira dopo {n} metri
say: {who} è qui dal {year}|sono le {clock} a {where}|ci sono {big} abitanti vicino a {where}
say: {who} ha scritto {n} lettere a {month}|il capitolo {o} del libro|{n} virgola {tel} per cento
say: {n} più {n} non fa {big}|servono ancora {n} minuti|esattamente {big}|il volo {tel} è in ritardo
say: {who} ha vinto il premio {o} a {where}|il negozio chiude alle {clock}|camera {big} senza vista
clock: {h} e {min}|{h} e un quarto|{h} e mezza|{h} meno un quarto
price: {n} euro|{n} euro e {n} centesimi|solo {n} centesimi|{n} dollari
month: gennaio|febbraio|marzo|aprile|maggio|giugno|luglio|agosto|settembre|ottobre|novembre|dicembre
weekday: lunedì|martedì|mercoledì|giovedì|venerdì|sabato|domenica
thing: il cappotto rosso|una vecchia carta|questa sedia|un orologio d'argento|il pane fresco
who: anna|mio fratello|il medico|la nostra vicina|pietro|la giovane regina|lo zio carlo
where: roma|milano|torino|napoli|venezia|firenze|bologna|genova
"""
_DUTCH = """
say: de trein vertrekt om {clock}|{who} komt {weekday} om {clock}|bladzijde {big}|{thing} kost {price}
say: {weekday} {day} {month}|op {day} {month} {year}|mijn nummer is {tel}|bel {who} op {tel}
say: het is nog {n} kilometer naar {where}|kamer {big} op de {o} verdieping|sla af na {n} meter
say: {who} is geboren in {year}|het is {clock} in {where}|er wonen {big} mensen bij {where}
say: {who} kreeg {n} brieven in {month}|de {o} vraag op bladzijde {big}|{n} komma {tel} procent
say: {n} plus {n} is geen {big}|we hebben nog {n} minuten|precies {big}|vlucht {tel} is vertraagd
say: {who} won de {o} wedstrijd in {where}|de winkel in {where} sluit om {clock}|neem bus {big}
clock: {min} over {h}|{min} voor {h}|kwart over {h}|half {h}|kwart voor {h}|{h} uur {min}
price: {n} euro|{n} euro {n}|maar {n} cent|{n} gulden
month: januari|februari|maart|april|mei|juni|juli|augustus|september|oktober|november|december
weekday: maandag|dinsdag|woensdag|donderdag|vrijdag|zaterdag|zondag
thing: de rode jas|een oude kaart|deze stoel|het zilveren horloge|een vers brood|haar groene fiets
who: anna|mijn broer|de dokter|onze buurvrouw|pieter|de jonge koningin|oom jan|jouw leraar
where: amsterdam|utrecht|leiden|brussel|gent|groningen|delft|zwolle
"""
_PORTUGUESE = """
say: o comboio parte às {clock}|{who} chega às {clock}|página {big}|{thing} custa {price}
say: {weekday} {day} de {month}|dia {day} de {month} de {year}|o meu número é {tel}|ligue para o {tel}
say: faltam {n} quilómetros até {where}|o andar {o} à direita|{n} vírgula {tel} por cento
say: {who} nasceu em {year}|são {clock} em {where}|o capítulo {o} do livro|exatamente {big}
clock: {h} e {min}|{h} e meia|{h} e um quarto
price: {n} euros|{n} euros e {n} cêntimos|só {n} cêntimos
month: janeiro|fevereiro|março|abril|maio|junho|julho|agosto|setembro|outubro|novembro|dezembro
weekday: segunda feira|terça feira|quarta feira|quinta feira|sexta feira|sábado|domingo
thing: o casaco vermelho|um mapa antigo|esta cadeira|o relógio de prata|o pão fresco
who: ana|o meu irmão|o médico|a nossa vizinha|pedro|a jovem rainha
where: lisboa|coimbra|braga|faro|évora|leiria
"""
_SWEDISH = """
say: tåget går klockan {clock}|{who} kommer på {weekday} klockan {clock}
say: sidan {big}|{thing} kostar {price}|{weekday} den {o} {month}
say: mitt nummer är {tel}|ring {who} på {tel}|exakt {big}|buss {big}
say: det är {n} kilometer till {where}|den {o} frågan på sidan {big}|{n} komma {tel} procent
clock: {min} över {h}|{min} i {h}|kvart över {h}|halv {h}|kvart i {h}
price: {n} kronor|{n} kronor och {n} öre|bara {n} kronor
month: januari|februari|mars|april|maj|juni|juli|augusti|september|oktober|november|december
weekday: måndag|tisdag|onsdag|torsdag|fredag|lördag|söndag
thing: den röda rocken|en gammal karta|den här stolen|silverklockan|ett nybakat bröd
who: anna|min bror|läkaren|vår granne|peter|den unga drottningen
where: stockholm|göteborg|malmö|uppsala|lund|kiruna
"""
_RUSSIAN = """
say: поезд идёт {n} часов {n} минут|{who} работает в {weekday}|страница {big}|{thing} стоит {price}
say: мой номер {tel}|телефон {tel}|до города {n} километров|{o} этаж комната {big}|ровно {big}
say: {o} вагон стоит {n} минут|{n} плюс {n} не {big}|в городе {n} домов и {n} улиц|автобус {big}
price: {n} рублей|{n} рублей {n} копеек|только {n} рублей
weekday: понедельник|среду|четверг|пятницу|субботу|воскресенье
thing: красное пальто|старая карта|этот стул|свежий хлеб|зелёный велосипед
who: анна|мой брат|врач|наша соседка|пётр|молодая королева
"""
_POLISH = """
say: pociąg jedzie {n} godzin {n} minut|{who} pracuje w {weekday}|strona {big}|{thing} kosztuje {price}
say: mój numer to {tel}|telefon {tel}|do miasta jest {n} kilometrów|rozdział {o}|dokładnie {big}
say: {o} wagon stoi {n} minut|{n} plus {n} to nie {big}|autobus {big} odjeżdża za {n} minut
price: {n} złotych|{n} złotych {n} groszy|tylko {n} złotych
weekday: poniedziałek|środę|czwartek|piątek|sobotę|niedzielę
thing: czerwony płaszcz|stara mapa|to krzesło|świeży chleb|zielony rower
who: anna|mój brat|lekarz|nasza sąsiadka|piotr|młoda królowa
"""
_CZECH = """
say: vlak jede {n} hodin {n} minut|{who} pracuje v {weekday}|strana {big}|{thing} stojí {price}
say: moje číslo je {tel}|telefon {tel}|do města je {n} kilometrů|přesně {big}|autobus {big}
say: vlak stojí {n} minut|{n} plus {n} není {big}|pokoj {big} je volný|linka {big} jede za {n} minut
price: {n} korun|{n} korun {n} haléřů|jenom {n} korun
weekday: pondělí|úterý|pátek|sobotu|neděli
thing: červený kabát|stará mapa|tato židle|čerstvý chléb|zelené kolo
who: anna|můj bratr|lékař|naše sousedka|petr|mladá královna
"""
_ANY = "say: {big}|{big} {n}|{big} {big}|{o} {o}|{o} {n} {n}|{tel}|{n} {n} {n}|{o} {big}|{big} {h}"
_TEXTS = {"en": _ENGLISH, "de": _GERMAN, "fr": _FRENCH, "es": _SPANISH, "it": _ITALIAN}
_TEXTS |= {"nl": _DUTCH, "pt": _PORTUGUESE, "sv": _SWEDISH, "ru": _RUSSIAN, "pl": _POLISH}
_TEXTS |= {"cs": _CZECH}


def sentences(lang: str, count: int, seed: int, exclude: Collection[str] = ()) -> list[str]:
    """Return `count` distinct lower-case sentences in `lang`, none of them in `exclude`.

    They hold letters, spaces and apostrophes only, in Unicode's NFC. Equal arguments give equal
    sentences. Raises ValueError for a language that num2words does not know, or when a language
    has too few sentences, and ImportError without num2words.

    >>> sentences("en", 2, seed=0)
    ['...', '...']
    """
    if lang not in languages():
        near = difflib.get_close_matches(lang, languages(), 3, 0.3) or languages()
        raise ValueError(f"no sentences in language {lang!r}; near it are {', '.join(near)}")
    grammar = _grammar(lang)
    shortest = SHORTEST if lang in _TEXTS else 6  # syllabic scripts say much in few characters
    rng = random.Random(f"{seed}/{lang}")
    taken, found = set(exclude), list[str]()
    for _ in range(100 * count + 1000):
        if len(found) == count:
            return found
        try:
            text = normalise(_expand("{say}", grammar, lang, rng))
        except (NotImplementedError, LookupError, TypeError):
            continue  # num2words lacks the ordinals, or some, of several languages
        if text not in taken and shortest <= len(text) <= LONGEST:
            taken.add(text)
            found.append(text)
    raise ValueError(f"only {len(found)} of {count} sentences exist in language {lang!r}")


def languages() -> tuple[str, ...]:
    """Return the codes of the languages that have numbers in words, in order.

    >>> {"en", "nl", "cy"} <= set(languages())
    True
    """
    return tuple(sorted(_num2words().CONVERTER_CLASSES))


def normalise(text: str) -> str:
    """Return `text` in lower case and NFC, with single spaces for all but letters and apostrophes.

    A text with a digit gives "": how it is read is not known.

    >>> normalise("One thousand, twenty-one o’clock")
    "one thousand twenty one o'clock"
    """
    text = unicodedata.normalize("NFC", text.replace("’", "'").lower())
    kinds = [unicodedata.category(letter)[0] for letter in text]
    if "N" in kinds:
        return ""
    kept = [c if kind in "LM" or c == "'" else " " for c, kind in zip(text, kinds, strict=True)]
    return " ".join("".join(kept).split())


def spelled(number: int, lang: str) -> str:
    """Return a whole number in words; raises as num2words does."""
    return normalise(_words(number, lang))


@functools.cache
def _grammar(lang: str) -> Grammar:
    rules: dict[str, tuple[str, ...]] = {}
    for line in _TEXTS.get(lang, _ANY).strip().splitlines():
        slot, _, choices = line.partition(": ")
        rules[slot] = rules.get(slot, ()) + tuple(choices.split("|"))
    return rules


def _expand(text: str, grammar: Grammar, lang: str, rng: random.Random) -> str:
    def fill(slot: re.Match[str]) -> str:
        name = slot[1]
        if name in _NUMBERS:
            return _NUMBERS[name](lang, rng)
        return _expand(rng.choice(grammar[name]), grammar, lang, rng)

    return re.sub(r"\{(\w+)\}", fill, text)


@functools.lru_cache(maxsize=10_000)
def _words(number: int, lang: str, form: str = "cardinal") -> str:
    words = str(_num2words().num2words(number, lang=lang, to=form))
    if not words.strip():
        raise LookupError(f"num2words has no {form} of {number} in {lang}")
    return words


def _many(lang: str, rng: random.Random, limit: int = 99) -> str:
    """Return 5..limit in words, such that no language here needs another gender or plural."""
    numbers = [n for n in range(5, limit + 1) if n < 21 or n % 10 in (0, 5, 6, 7, 8, 9)]
    return _words(rng.choice(numbers), lang)


def _big(lang: str, rng: random.Random) -> str:
    """Return a number of 2 to 6 digits in words, all magnitudes alike."""
    digits = rng.randint(2, 6)
    return _words(rng.randrange(10 ** (digits - 1), 10**digits), lang)


def _year(lang: str, rng: random.Random) -> str:
    return _words(rng.randint(1800, 2030), lang, "year" if lang in ("en", "de") else "cardinal")


def _digits(lang: str, rng: random.Random) -> str:
    return " ".join(_words(rng.randrange(10), lang) for _ in range(rng.randint(3, 6)))


def _num2words() -> Any:
    try:
        import num2words
    except ImportError as error:
        raise ImportError("sentences need num2words: pip install 'mtl[corpus]'") from error
    return num2words


_NUMBERS: dict[str, Callable[[str, random.Random], str]] = {
    "n": _many,
    "min": lambda lang, rng: _many(lang, rng, 59),
    "h": lambda lang, rng: _words(rng.randint(3, 12), lang),
    "day": lambda lang, rng: _words(rng.randint(2, 31), lang),
    "o": lambda lang, rng: _words(rng.randint(1, 31), lang, "ordinal"),
    "big": _big,
    "year": _year,
    "tel": _digits,
}
