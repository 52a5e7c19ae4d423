import random
import sys
import time
import unicodedata

import pytest

from hnmine.engines.analysis import CJK, LANGUAGES, NONE, Analyser, _patterns, detect_language, normalise_language
from hnmine.errors import UsageError

# Article 1 of the Universal Declaration of Human Rights, which is free to use in every language.
ARTICLE = {
    "danish": "Alle mennesker er født frie og lige i værdighed og rettigheder. De er udstyret med fornuft og "
    "samvittighed, og de bør handle mod hverandre i en broderskabets ånd.",
    "norwegian": "Alle mennesker er født frie og med samme menneskeverd og menneskerettigheter. De er utstyrt med "
    "fornuft og samvittighet og bør handle mot hverandre i brorskapets ånd.",
    "swedish": "Alla människor är födda fria och lika i värde och rättigheter. De har utrustats med förnuft och "
    "samvete och bör handla gentemot varandra i en anda av gemenskap.",
    "dutch": "Alle mensen worden vrij en gelijk in waardigheid en rechten geboren. Zij zijn begiftigd met verstand en "
    "geweten, en behoren zich jegens elkander in een geest van broederschap te gedragen.",
    "french": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de "
    "conscience et doivent agir les uns envers les autres dans un esprit de fraternité.",
    "spanish": "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón y "
    "conciencia, deben comportarse fraternalmente los unos con los otros.",
    "portuguese": "Todos os seres humanos nascem livres e iguais em dignidade e em direitos. Dotados de razão e de "
    "consciência, devem agir uns para com os outros em espírito de fraternidade.",
    "italian": "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti. Essi sono dotati di ragione e di "
    "coscienza e devono agire gli uni verso gli altri in spirito di fratellanza.",
    "russian": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью "
    "и должны поступать в отношении друг друга в духе братства.",
    "turkish": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana sahiptirler ve "
    "birbirlerine karşı kardeşlik zihniyeti ile hareket etmelidirler.",
    "german": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen "
    "begabt und sollen einander im Geist der Brüderlichkeit begegnen.",
    "english": "All human beings are born free and equal in dignity and rights. They are endowed with reason and "
    "conscience and should act towards one another in a spirit of brotherhood.",
    NONE: "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    CJK: "すべての人間は、生れながらにして自由であり、かつ、尊厳と権利とについて平等である。",
}
FINNISH = (
    "Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan. Heille on annettu järki ja "
    "omatunto, ja heidän on toimittava toisiaan kohtaan veljeyden hengessä."
)
POLISH = (
    "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni obdarzeni rozumem i "
    "sumieniem i powinni postępować wobec innych w duchu braterstwa."
)


@pytest.mark.parametrize("language", ARTICLE)
def test_detects_the_language_of_running_text(language):
    assert detect_language([ARTICLE[language]]) == language


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [""],
        ["12 34 ?!"],
        [FINNISH],
        [POLISH],
        ["Rhinovirus", "Steam engine", "The Beatles", *map(str, range(20))],
        [ARTICLE["english"], ARTICLE["german"]],
    ],
)
def test_says_none_rather_than_guess(texts):
    assert detect_language(texts) == NONE


def test_detection_goes_by_most_letters_and_reads_a_bounded_sample():
    chinese = "黑豹队的防守只丢了分，在联赛中排名第六" * 3
    assert detect_language([chinese, "the NFL and the AFC"]) == CJK
    assert detect_language([chinese[:10], ARTICLE["german"]]) == "german"

    def texts():
        yield from [ARTICLE["german"]] * 1000
        raise AssertionError("reads more than the sample")

    assert detect_language(texts()) == "german"


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("json_decode(x)", ["json", "decode", "x"]),
        ("a I 7", ["a", "i", "7"]),
        ("Straße ＡＢＣ ﬁne Ⅳ x²", ["straße", "abc", "fine", "iv", "x2"]),
        ("cafe\u0301 naïve", ["café", "naïve"]),
        ("don't l’homme", ["don", "t", "l", "homme"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("Silben\u00adtrennung", ["silbentrennung"]),
        ("İstanbul", ["istanbul"]),
        ("❤\ufe0f 1\ufe0f\u20e3 \u0301", ["1"]),
        ("", []),
        ("__ -- \u3000", []),
    ],
)
def test_words(text, tokens):
    assert Analyser("none").tokens(text) == tokens


@pytest.mark.parametrize("language", ["none", "cjk", "english", "russian"])
@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("机器学习", ["机器", "器学", "学习"]),
        ("人", ["人"]),
        ("机器,学", ["机器", "学"]),
        ("NFL比赛308分x", ["nfl", "比赛", "308", "分", "x"]),
        ("ﾃﾞｰﾀ", ["デー", "ータ"]),  # half-width kana
        ("葛\U000e0100飾", ["葛飾"]),  # an ideograph with a variation selector
        ("ที่ดิน", ["ที่ดิ", "ดิน"]),  # marks stay with their letter
        ("๑๒ກຂ", ["๑๒", "ກຂ"]),  # digits stay words
        ("한국어", ["한국어"]),  # Hangul has spaces
    ],
)
def test_scripts_without_spaces_become_bigrams_under_every_language(language, text, tokens):
    assert Analyser(language).tokens(text) == tokens


def test_stems_and_stop_words():
    assert Analyser("english").tokens("The running dogs and the dog's bones") == ["run", "dog", "dog", "s", "bone"]
    assert Analyser("german").tokens("Die Häuser und das Haus") == ["haus", "haus"]
    assert Analyser("finnish").tokens("ja talossa") == ["ja", "talo"]  # no list: nothing is dropped
    assert Analyser("cjk").tokens("The 动物 running") == ["the", "动物", "run"]
    assert Analyser("turkish").tokens("ILIK") == Analyser("turkish").tokens("ılık")
    assert Analyser("none").tokens("The dogs") == ["the", "dogs"]


def test_every_language_has_an_analyser_and_never_gives_an_empty_token():
    texts = [*ARTICLE.values(), "s ' ation ing x'y", "हिन्दी में", "தமிழ் மொழி"]
    for language in LANGUAGES:
        analyser = Analyser(language)
        for text in texts:
            assert all(analyser.tokens(text)), language


@pytest.mark.parametrize(
    ("name", "language"),
    [("de", "german"), ("German", "german"), ("zh-CN", CJK), ("pt_BR", "portuguese"), ("ja", CJK), ("none", NONE)],
)
def test_language_names_and_codes(name, language):
    assert normalise_language(name) == language
    assert Analyser(name).describe() == Analyser(language).describe()


def test_unknown_language_names_the_nearest():
    with pytest.raises(UsageError, match="'germann'; did you mean 'german'"):
        Analyser("germann")
    with pytest.raises(UsageError, match="unknown language 'xx'"):
        Analyser("xx")


def test_describe_tells_analysers_apart_and_is_stable():
    described = [Analyser(language).describe() for language in LANGUAGES]
    assert all(one != other for i, one in enumerate(described) for other in described[:i])
    english = Analyser("english").describe()
    assert english["stop_words"] == 33
    assert english["unicode"] == unicodedata.unidata_version
    assert Analyser("english").describe() == english


def test_spaceless_characters_are_the_letters_and_marks_of_their_scripts():
    _, spaceless, _ = _patterns()
    scripts = ("CJK UNIFIED", "CJK COMPAT", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "IDEOGRAPHIC")
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        name = unicodedata.name(char, "")
        if unicodedata.normalize("NFKC", char) != char or not name or "TAI LAING" in name or "SHAN" in name:
            continue
        if unicodedata.category(char) in ("Lo", "Mn", "Mc", "Lm") and name.startswith(scripts):
            assert spaceless.match(char) or name.startswith("IDEOGRAPHIC"), (hex(code), name)
        if spaceless.match(char):
            assert unicodedata.category(char) in ("Lo", "Mn", "Mc", "Lm", "Nl"), (hex(code), name)


def test_fast_paths_find_what_the_full_pattern_finds():
    word, _, _ = _patterns()
    analyser = Analyser("none")
    draw = random.Random(7)
    alphabet = "ab Z9_-'\u00e9\u00df\u017f\u02bc\u2019\u2026\u20ac\u2460\u2122\u215b\u24b6"
    for _ in range(2000):
        text = "".join(draw.choices(alphabet, k=12))
        assert analyser.tokens(text) == word.findall(unicodedata.normalize("NFKC", text).lower())


def test_the_stem_cache_is_bounded(monkeypatch):
    monkeypatch.setattr("hnmine.engines.analysis._CACHED_STEMS", 10)
    analyser = Analyser("english")
    for number in range(100):
        assert analyser.tokens(f"dogs{number} running") == [f"dogs{number}", "run"]
    assert len(analyser._stems) <= 10


def test_analyses_a_text_of_five_megabytes():
    text = "running dogs, " * 360_000
    start = time.perf_counter()
    assert len(Analyser("english").tokens(text)) == 720_000
    assert time.perf_counter() - start < 20
