"""Detection of the encoding of bytes that are not UTF-8: advice for a person, never a silent choice.

Each candidate is judged by what its characters look like together: the letters that its languages use most, and whether
they stand beside Latin letters (as accents do) or among themselves (as another script does).
"""

import codecs
import re
import unicodedata
from collections.abc import Callable

_WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
_TYPOGRAPHY = "’‘“”„–—…«»‹›•€"
_ACCENTED = {  # what each language writes beside plain Latin letters
    "western": (
        "éèêëàâçîïôùûüÿœæÉÈÀÇÊ",
        "äöüßÄÖÜ",
        "áéíóúñü¿¡ÁÉÍÓÚÑ",
        "ãõáàâéêíóôúçÃÁÉ",
        "åäöéÅÄÖ",
        "åæøéÅÆØ",
        "àèéìòùÈ",
        "áðéíóúýþæöÁÍÞÖ",
        "éëïóöüè",
    ),
    "central": (
        "ąćęłńóśźżĄĆĘŁŃÓŚŹŻ",
        "áčďéěíňóřšťúůýžÁČĎÉÍŇŘŠŤÚŮÝŽ",
        "áéíóöőúüűÁÉÍÓÖŐÚÜŰ",
        "áäčďéíĺľňóôŕšťúýž",
        "čćđšžČĆĐŠŽ",
    ),
    "romanian": ("ăâîșțşţĂÂÎŞŢ",),
    "turkish": ("çğıöşüâÇĞİÖŞÜ",),
    "baltic": ("āčēģīķļņšūžĀČŠŪŽ", "ąčęėįšųūžĄČŠŪŽ"),
}
_ACCENTED_CODECS = {
    "western": ("latin-1", "cp1252", "mac-roman", "cp850"),
    "central": ("iso8859-2", "cp1250", "cp852"),
    "romanian": ("iso8859-2", "cp1250"),
    "turkish": ("cp1254",),
    "baltic": ("cp1257",),
}
_SCRIPTS = {  # the most frequent letters of a script, and the encodings that it is found in
    "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфёъіїє": ("cp1251", "koi8-r", "koi8-u", "cp866", "iso8859-5"),
    "αοιετνσρηπκμλυςωδγχθφβξζψάέήίόύώϊ": ("cp1253", "iso8859-7"),
    "יוהלאתרבשמנםחדעקפכגסזטץןךףצ": ("cp1255", "iso8859-8"),
    "اليمونرتبةعدسفحكقجذخشهصزطثغضظىأإآءئؤ،": ("cp1256", "iso8859-6"),
    "านรอกเงมยลวดทสตะปบคหแจพชขใไโผธึฉัีิ่้็์ุู": ("cp874",),
}
_SURE = 0.8  # share of what is outside of ASCII that must look right
_CLEARLY = 1.05  # by how much the best must be ahead of another that would give other characters


def detect_wide(head: bytes) -> str | None:
    """Detect UTF-16 or UTF-32 without a byte-order mark; return `None` for anything else."""
    for codec in _WIDE:
        text = _decode(head, codec)
        if text and re.search("[ \n]", text) and all(char.isprintable() or char in "\t\n\r\f\xa0　" for char in text):
            return codec
    return None


def detect_encoding(head: bytes) -> str | None:
    """Return the encoding that the bytes, which are not UTF-8, look like; `None` where nothing is clear."""
    scores: dict[str, float] = {}
    texts: dict[str, str] = {}
    for codec, score in _candidates():
        text = _decode(head, codec)
        if text is not None and (value := score(text)) > scores.get(codec, 0):
            scores[codec], texts[codec] = value, text
    if not scores:
        return None
    best = max(scores, key=lambda codec: scores[codec])  # the first of equals
    rivals = (codec for codec in scores if texts[codec] != texts[best])
    if scores[best] < _SURE or any(scores[codec] * _CLEARLY > scores[best] for codec in rivals):
        return None
    return best


def _candidates() -> list[tuple[str, Callable[[str], float]]]:
    found: list[tuple[str, Callable[[str], float]]] = []
    for group, languages in _ACCENTED.items():
        for codec in _ACCENTED_CODECS[group]:
            found += [(codec, _score_of_accents(letters)) for letters in languages]
    found += [(codec, _score_of_languages_mixed) for codec in ("latin-1", "cp1252")]
    for letters, names in _SCRIPTS.items():
        found += [(codec, _score_of_script(letters)) for codec in names]
    return [*found, *_EASTERN.items()]


def _decode(head: bytes, codec: str) -> str | None:
    """Return the characters of `head`, whose last one may be cut; `None` if the codec can't read them."""
    try:
        text = codecs.getincrementaldecoder(codec)().decode(head)
    except UnicodeDecodeError:
        return None
    return None if re.search("[\0\x80-\x9f\ufffd]", text) else text


def _score_of_accents(letters: str) -> Callable[[str], float]:
    fine = frozenset(letters + _TYPOGRAPHY + "°§´·ºª\xa0")

    def score(text: str) -> float:
        foreign = [char for char in text if char > "\x7f"]
        lonely = sum(len(run) for run in re.findall(r"[^\W\d_a-zA-Z]{4,}", text))  # no word is all accents
        lonely += sum(run[1].isupper() for run in re.findall(r"[a-z][^\W\d_a-zA-Z]", text))  # nor a capital within
        return (sum(char in fine for char in foreign) - lonely) / len(foreign) if foreign else 0.0

    return score


def _score_of_languages_mixed(text: str) -> float:
    """Score a text in several western languages, a little lower so that a single language that fits comes first."""
    return 0.95 * _score_of_accents("".join(_ACCENTED["western"]))(text)


def _score_of_script(letters: str) -> Callable[[str], float]:
    frequent, known = frozenset(letters[:12]), frozenset(letters + letters.upper() + _TYPOGRAPHY + "№\xa0")
    is_cased = letters.upper() != letters

    def score(text: str) -> float:
        foreign = [char for char in text if char > "\x7f"]
        if not foreign:
            return 0.0
        mixed = len(re.findall(r"[a-zA-Z][^\W\d_a-zA-Z]|[^\W\d_a-zA-Z][a-zA-Z]", text))
        share = sum(char in known for char in foreign) / len(foreign)
        lower = sum(char.islower() for char in foreign) / len(foreign) if is_cased else 1.0
        common = sum(char in frequent for char in foreign) / max(1, sum(map(str.isalpha, foreign)))
        return share * min(1.0, common / 0.65) * min(1.0, lower / 0.6) - mixed / len(foreign)

    return score


def _share(text: str, is_fine: Callable[[str], bool]) -> float:
    foreign = [char for char in text if char > "\x7f"]
    return sum(map(is_fine, foreign)) / len(foreign) if len(foreign) > 3 else 0.0


def _is_sign(char: str) -> bool:
    """Return whether it is punctuation that East Asian texts use."""
    return "　" <= char <= "〟" or char in "，。！？：；（）「」『』・ー～" or char in _TYPOGRAPHY


def _is_kana(char: str) -> bool:
    return "ぁ" <= char <= "ヿ"


def _score_of_japanese(text: str) -> float:
    if _share(text, _is_kana) < 0.2:
        return 0.0
    return _share(text, lambda char: _is_kana(char) or _is_sign(char) or _can_be(char, "shift_jis", 0x88, 0x97, 0x98))


def _score_of_chinese(codec: str, first: int, last: int) -> Callable[[str], float]:
    """Return a score: the share of characters in the rows of the frequent ones, as kana belong to Japanese."""

    def score(text: str) -> float:
        if _share(text, _is_kana) > 0.1:
            return 0.0
        if codec == "gb2312" and not _share(text, lambda char: _can_be(char, codec, 0xC9, 0xD7)):
            return 0.5  # Korean looks like that: its syllables end where half of the frequent ideographs do
        return _share(text, lambda char: _is_sign(char) or _can_be(char, codec, first, last))

    return score


def _score_of_korean(text: str) -> float:
    return _share(text, lambda char: "가" <= char <= "힣" or _is_sign(char))


def _can_be(char: str, codec: str, *rows: int) -> bool:
    """Return whether it is an ideograph that lies between the first and the last of `rows` of a character set."""
    if not unicodedata.name(char, "").startswith("CJK UNIFIED"):
        return False
    data = char.encode(codec, "ignore")
    return bool(data) and rows[0] <= data[0] <= rows[-1]


_EASTERN: dict[str, Callable[[str], float]] = {
    "shift_jis": _score_of_japanese,
    "cp932": _score_of_japanese,
    "euc_jp": _score_of_japanese,
    "euc_kr": _score_of_korean,
    "gb18030": _score_of_chinese("gb2312", 0xB0, 0xD7),
    "big5": _score_of_chinese("big5", 0xA4, 0xC6),
}
