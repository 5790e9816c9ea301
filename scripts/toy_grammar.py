"""The corpus of the quick start: English-German sentence pairs from a small grammar.

Every English sentence has exactly one translation, so a model can translate all of them correctly.
It has to learn word order (verb second, verb-final clauses, participles and separated prefixes at
the end, numbers with the unit first) and agreement (gender, case, number, adjective endings).
"""

import random
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

# --- lexicon -----------------------------------------------------------------------------

SINGULAR, PLURAL = 0, 1
NOMINATIVE, ACCUSATIVE, DATIVE = 0, 1, 2
MASCULINE, FEMININE, NEUTER = 0, 1, 2


@dataclass(frozen=True)
class Noun:
    """The forms of a noun in both languages.

    Attributes:
        english: singular.
        english_plural: plural.
        german: nominative singular.
        german_plural: nominative plural.
        gender: ``MASCULINE``, ``FEMININE`` or ``NEUTER``.
        oblique: accusative and dative singular; None: the same as the nominative.
    """

    english: str
    english_plural: str
    german: str
    german_plural: str
    gender: int
    oblique: Optional[str] = None

    def decline(self, number: int, case: int) -> str:
        """The German form for a number and a case."""
        if number == SINGULAR:
            return self.oblique if self.oblique and case != NOMINATIVE else self.german
        if case == DATIVE and self.german_plural[-1] not in "ns":
            return self.german_plural + "n"
        return self.german_plural


@dataclass(frozen=True)
class Verb:
    """The forms of a verb with one object, in both languages.

    Attributes:
        english: infinitive and plural.
        english_third: third person singular.
        english_participle: past participle.
        singular: German third person singular, without a separable prefix.
        plural: German third person plural, without a separable prefix.
        infinitive: German infinitive, with the prefix.
        participle: German past participle, with the prefix.
        prefix: German separable prefix; empty if the verb has none.
        case: case of the object in German.
    """

    english: str
    english_third: str
    english_participle: str
    singular: str
    plural: str
    infinitive: str
    participle: str
    prefix: str = ""
    case: int = ACCUSATIVE

    def english_finite(self, number: int) -> str:
        return self.english_third if number == SINGULAR else self.english

    def german_finite(self, number: int) -> str:
        return self.singular if number == SINGULAR else self.plural


PEOPLE = [
    Noun("man", "men", "Mann", "Männer", MASCULINE),
    Noun("boy", "boys", "Junge", "Jungen", MASCULINE, "Jungen"),
    Noun("teacher", "teachers", "Lehrer", "Lehrer", MASCULINE),
    Noun("student", "students", "Student", "Studenten", MASCULINE, "Studenten"),
    Noun("neighbour", "neighbours", "Nachbar", "Nachbarn", MASCULINE, "Nachbarn"),
    Noun("doctor", "doctors", "Arzt", "Ärzte", MASCULINE),
    Noun("woman", "women", "Frau", "Frauen", FEMININE),
    Noun("aunt", "aunts", "Tante", "Tanten", FEMININE),
    Noun("sister", "sisters", "Schwester", "Schwestern", FEMININE),
    Noun("queen", "queens", "Königin", "Königinnen", FEMININE),
    Noun("child", "children", "Kind", "Kinder", NEUTER),
    Noun("girl", "girls", "Mädchen", "Mädchen", NEUTER),
]
THINGS = [
    Noun("dog", "dogs", "Hund", "Hunde", MASCULINE),
    Noun("apple", "apples", "Apfel", "Äpfel", MASCULINE),
    Noun("letter", "letters", "Brief", "Briefe", MASCULINE),
    Noun("chair", "chairs", "Stuhl", "Stühle", MASCULINE),
    Noun("cat", "cats", "Katze", "Katzen", FEMININE),
    Noun("flower", "flowers", "Blume", "Blumen", FEMININE),
    Noun("bag", "bags", "Tasche", "Taschen", FEMININE),
    Noun("lamp", "lamps", "Lampe", "Lampen", FEMININE),
    Noun("book", "books", "Buch", "Bücher", NEUTER),
    Noun("picture", "pictures", "Bild", "Bilder", NEUTER),
    Noun("car", "cars", "Auto", "Autos", NEUTER),
    Noun("horse", "horses", "Pferd", "Pferde", NEUTER),
]
PLACES = [
    ("in", "in", Noun("garden", "gardens", "Garten", "Gärten", MASCULINE)),
    ("in", "in", Noun("kitchen", "kitchens", "Küche", "Küchen", FEMININE)),
    ("in", "in", Noun("house", "houses", "Haus", "Häuser", NEUTER)),
    ("in front of", "vor", Noun("school", "schools", "Schule", "Schulen", FEMININE)),
    ("behind", "hinter", Noun("train station", "train stations", "Bahnhof", "Bahnhöfe", MASCULINE)),
    ("behind", "hinter", Noun("theatre", "theatres", "Theater", "Theater", NEUTER)),
]
THING_VERBS = [
    Verb("see", "sees", "seen", "sieht", "sehen", "sehen", "gesehen"),
    Verb("buy", "buys", "bought", "kauft", "kaufen", "kaufen", "gekauft"),
    Verb("look for", "looks for", "looked for", "sucht", "suchen", "suchen", "gesucht"),
    Verb("find", "finds", "found", "findet", "finden", "finden", "gefunden"),
    Verb("draw", "draws", "drawn", "zeichnet", "zeichnen", "zeichnen", "gezeichnet"),
    Verb(
        "bring along",
        "brings along",
        "brought along",
        "bringt",
        "bringen",
        "mitbringen",
        "mitgebracht",
        prefix="mit",
    ),
    Verb(
        "pick up",
        "picks up",
        "picked up",
        "hebt",
        "heben",
        "aufheben",
        "aufgehoben",
        prefix="auf",
    ),
    Verb(
        "look at",
        "looks at",
        "looked at",
        "sieht",
        "sehen",
        "ansehen",
        "angesehen",
        prefix="an",
    ),
]
PERSON_VERBS = [
    Verb("know", "knows", "known", "kennt", "kennen", "kennen", "gekannt"),
    Verb("greet", "greets", "greeted", "grüßt", "grüßen", "grüßen", "gegrüßt"),
    Verb("visit", "visits", "visited", "besucht", "besuchen", "besuchen", "besucht"),
    Verb("call", "calls", "called", "ruft", "rufen", "anrufen", "angerufen", prefix="an"),
    Verb("invite", "invites", "invited", "lädt", "laden", "einladen", "eingeladen", prefix="ein"),
    Verb("help", "helps", "helped", "hilft", "helfen", "helfen", "geholfen", case=DATIVE),
    Verb("thank", "thanks", "thanked", "dankt", "danken", "danken", "gedankt", case=DATIVE),
    Verb(
        "listen to",
        "listens to",
        "listened to",
        "hört",
        "hören",
        "zuhören",
        "zugehört",
        prefix="zu",
        case=DATIVE,
    ),
]
ADJECTIVES = [
    ("old", "alt"),
    ("young", "jung"),
    ("small", "klein"),
    ("big", "groß"),
    ("beautiful", "schön"),
    ("new", "neu"),
    ("quiet", "ruhig"),
    ("strange", "seltsam"),
    ("famous", "berühmt"),
    ("lovely", "lieb"),
]
MODALS = [
    (("wants to", "want to"), ("will", "wollen")),
    (("can", "can"), ("kann", "können")),
    (("must", "must"), ("muss", "müssen")),
    (("is allowed to", "are allowed to"), ("darf", "dürfen")),
]
TIMES = [
    ("today", "heute"),
    ("now", "jetzt"),
    ("in the evening", "am Abend"),
    ("on Monday", "am Montag"),
    ("soon", "bald"),
]
FREQUENCIES = [("often", "oft"), ("never", "nie"), ("always", "immer"), ("rarely", "selten")]
REPORTING = [
    (("says", "say"), ("sagt", "sagen")),
    (("believes", "believe"), ("glaubt", "glauben")),
    (("hopes", "hope"), ("hofft", "hoffen")),
]
CONJUNCTIONS = [("because", "weil"), ("although", "obwohl"), ("while", "während")]

# By case, for masculine, feminine, neuter and plural.
DEFINITE = {
    NOMINATIVE: ("der", "die", "das", "die"),
    ACCUSATIVE: ("den", "die", "das", "die"),
    DATIVE: ("dem", "der", "dem", "den"),
}
INDEFINITE_ENDING = {
    NOMINATIVE: ("", "e", ""),
    ACCUSATIVE: ("en", "e", ""),
    DATIVE: ("em", "er", "em"),
}
# Adjective endings after the definite article, after "ein", and without an article (plural).
WEAK_ENDING = {
    NOMINATIVE: ("e", "e", "e", "en"),
    ACCUSATIVE: ("en", "e", "e", "en"),
    DATIVE: ("en", "en", "en", "en"),
}
MIXED_ENDING = {
    NOMINATIVE: ("er", "e", "es"),
    ACCUSATIVE: ("en", "e", "es"),
    DATIVE: ("en", "en", "en"),
}
STRONG_PLURAL_ENDING = {NOMINATIVE: "e", ACCUSATIVE: "e", DATIVE: "en"}

ONES = [
    ("two", "zwei"),
    ("three", "drei"),
    ("four", "vier"),
    ("five", "fünf"),
    ("six", "sechs"),
    ("seven", "sieben"),
    ("eight", "acht"),
    ("nine", "neun"),
]
TENS = [
    ("twenty", "zwanzig"),
    ("thirty", "dreißig"),
    ("forty", "vierzig"),
    ("fifty", "fünfzig"),
    ("sixty", "sechzig"),
    ("seventy", "siebzig"),
    ("eighty", "achtzig"),
    ("ninety", "neunzig"),
]


# --- grammar -----------------------------------------------------------------------------

Words = List[str]


@dataclass
class NounPhrase:
    """A noun with its determiner, and optionally an adjective and a relative clause.

    Attributes:
        noun: the noun.
        number: ``SINGULAR`` or ``PLURAL``.
        determiner: ``"definite"``, ``"indefinite"`` or ``"number"``.
        numeral: English and German numeral, for the determiner ``"number"``.
        adjective: English and German adjective.
        relative: the predicate of the relative clause.
    """

    noun: Noun
    number: int
    determiner: str
    numeral: Tuple[str, str] = ("", "")
    adjective: Optional[Tuple[str, str]] = None
    relative: Optional["Predicate"] = None

    def english(self) -> Words:
        noun = self.noun.english if self.number == SINGULAR else self.noun.english_plural
        words = [self.adjective[0]] if self.adjective else []
        words.append(noun)
        if self.determiner == "definite":
            words.insert(0, "the")
        elif self.determiner == "indefinite":
            words.insert(0, "an" if words[0][0] in "aeiou" else "a")
        else:
            words.insert(0, self.numeral[0])
        if self.relative:
            words += ["who"] + self.relative.english(self.number)
        return words

    def german(self, case: int) -> Words:
        column = 3 if self.number == PLURAL else self.noun.gender
        if self.determiner == "definite":
            article = DEFINITE[case][column]
            ending = WEAK_ENDING[case][column]
        elif self.determiner == "indefinite":
            article = "ein" + INDEFINITE_ENDING[case][column]
            ending = MIXED_ENDING[case][column]
        else:
            article = self.numeral[1]
            ending = STRONG_PLURAL_ENDING[case]
        words = [article]
        if self.adjective:
            words.append(self.adjective[1] + ending)
        words.append(self.noun.decline(self.number, case))
        if self.relative:
            finite, middle, end = self.relative.german(self.number)
            pronoun = DEFINITE[NOMINATIVE][column]
            words += [",", pronoun, *middle, *join_verb(end, finite), ","]
        return words


@dataclass
class Predicate:
    """A clause without its subject.

    Attributes:
        verb: the verb.
        object: its object.
        tense: ``"present"``, ``"perfect"`` or ``"modal"``.
        modal: English and German forms of the modal verb, for the tense ``"modal"``.
        frequency: English and German adverb of frequency.
        place: English and German words of an adverbial of place.
    """

    verb: Verb
    object: NounPhrase
    tense: str = "present"
    modal: Optional[tuple] = None
    frequency: Optional[Tuple[str, str]] = None
    place: Optional[Tuple[Words, Words]] = None

    def english(self, number: int) -> Words:
        adverb = [self.frequency[0]] if self.frequency else []
        if self.tense == "present":
            words = adverb + [self.verb.english_finite(number)]
        elif self.tense == "perfect":
            words = ["has" if number == SINGULAR else "have", *adverb]
            words.append(self.verb.english_participle)
        else:
            assert self.modal is not None  # the tense is "modal"
            words = [self.modal[0][number], self.verb.english]
        words += self.object.english()
        return words + (self.place[0] if self.place else [])

    def german(self, number: int) -> Tuple[str, Words, Words]:
        """Finite verb, middle field, and the words at the end of the clause."""
        middle = [self.frequency[1]] if self.frequency else []
        middle += self.object.german(self.verb.case)
        middle += self.place[1] if self.place else []
        if self.tense == "present":
            end = [self.verb.prefix] if self.verb.prefix else []
            return self.verb.german_finite(number), middle, end
        if self.tense == "perfect":
            return ("hat", "haben")[number], middle, [self.verb.participle]
        assert self.modal is not None
        return self.modal[1][number], middle, [self.verb.infinitive]


PREFIXES = {verb.prefix for verb in THING_VERBS + PERSON_VERBS if verb.prefix}


def join_verb(end: Words, finite: str) -> Words:
    """The verbs at the end of a subordinate clause: a separated prefix rejoins its verb."""
    if end and end[0] in PREFIXES:
        return [end[0] + finite]
    return [*end, finite]


class Grammar:
    """Draws sentence pairs. The same seed gives the same pairs in the same order."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def numeral(self) -> Tuple[str, str]:
        if self.chance(0.5):
            return self.random.choice(ONES)
        tens, ones = self.random.choice(TENS), self.random.choice(ONES)
        return f"{tens[0]}-{ones[0]}", f"{ones[1]}und{tens[1]}"

    def noun_phrase(self, nouns: List[Noun], relative: float = 0.0) -> NounPhrase:
        kind = self.random.choice(["definite", "definite", "indefinite", "number", "plural"])
        phrase = NounPhrase(
            noun=self.random.choice(nouns),
            number=PLURAL if kind in ("number", "plural") else SINGULAR,
            determiner="definite" if kind == "plural" else kind,
            numeral=self.numeral() if kind == "number" else ("", ""),
            adjective=self.random.choice(ADJECTIVES) if self.chance(0.5) else None,
        )
        if self.chance(relative):
            phrase.relative = self.predicate(simple=True)
        return phrase

    def predicate(self, simple: bool = False) -> Predicate:
        if self.chance(0.5):
            verb, nouns = self.random.choice(THING_VERBS), THINGS
        else:
            verb, nouns = self.random.choice(PERSON_VERBS), PEOPLE
        predicate = Predicate(verb, self.noun_phrase(nouns))
        if simple:
            return predicate
        predicate.tense = self.random.choice(["present", "present", "perfect", "modal"])
        if predicate.tense == "modal":
            predicate.modal = self.random.choice(MODALS)
        elif self.chance(0.3):
            predicate.frequency = self.random.choice(FREQUENCIES)
        if self.chance(0.25):
            english, german, noun = self.random.choice(PLACES)
            place = NounPhrase(noun, SINGULAR, "definite")
            predicate.place = ([english, *place.english()], [german, *place.german(DATIVE)])
        return predicate

    def pair(self) -> Tuple[str, str]:
        """Draw an English sentence and its German translation."""
        subject = self.noun_phrase(PEOPLE, relative=0.15)
        kind = self.random.choice(["main", "fronted", "subordinate", "reported"])
        if kind == "reported":
            english_verb, german_verb = self.random.choice(REPORTING)
            inner_subject, inner = self.noun_phrase(PEOPLE), self.predicate()
            english = subject.english() + [english_verb[subject.number], "that"]
            english += inner_subject.english() + inner.english(inner_subject.number)
            german = subject.german(NOMINATIVE) + [german_verb[subject.number]]
            german += [",", "dass", *self.verb_final(inner_subject, inner)]
            return sentence(english), sentence(german)

        predicate = self.predicate()
        finite, middle, end = predicate.german(subject.number)
        english = subject.english() + predicate.english(subject.number)
        german = subject.german(NOMINATIVE) + [finite, *middle, *end]
        if kind == "fronted":
            time = self.random.choice(TIMES)
            english = [time[0], *english]
            german = [time[1], finite, *subject.german(NOMINATIVE), *middle, *end]
        elif kind == "subordinate":
            conjunction = self.random.choice(CONJUNCTIONS)
            inner_subject, inner = self.noun_phrase(PEOPLE), self.predicate()
            english += [conjunction[0]]
            english += inner_subject.english() + inner.english(inner_subject.number)
            german += [",", conjunction[1], *self.verb_final(inner_subject, inner)]
        return sentence(english), sentence(german)

    @staticmethod
    def verb_final(subject: NounPhrase, predicate: Predicate) -> Words:
        """The German words of a subordinate clause."""
        finite, middle, end = predicate.german(subject.number)
        return subject.german(NOMINATIVE) + middle + join_verb(end, finite)


def sentence(words: Words) -> str:
    """Join words into a sentence with attached commas, a capital first letter and a full stop."""
    text = " ".join(words + ["."]).replace(" ,", ",").replace(",,", ",")
    text = text.replace(", .", ".").replace(",.", ".").replace(" .", ".")
    return text[0].upper() + text[1:]


def generate(num_pairs: int, seed: int = 1) -> List[Tuple[str, str]]:
    """Draw *num_pairs* pairs whose English sentences are all different.

    Args:
        num_pairs: number of pairs.
        seed: random seed; the same seed gives the same pairs.
    """
    grammar = Grammar(seed)
    pairs: Dict[str, str] = {}
    while len(pairs) < num_pairs:
        english, german = grammar.pair()
        pairs.setdefault(english, german)
    return list(pairs.items())
