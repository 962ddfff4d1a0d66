"""What is said of a text that is not UTF-8, or is cut, never leads astray; several files are one text."""

import os
from pathlib import Path

import pytest

from charlstm.config import TrainConfig
from charlstm.corpus import decode, open_corpus
from charlstm.corpus.encoding_detection import detect_encoding, detect_wide
from charlstm.errors import ConfigError, CorpusError

SAMPLES = {
    "Все счастливые семьи похожи друг на друга, несчастливая несчастлива по-своему.\n": "koi8-r cp1251 cp866",
    "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n": "shift_jis euc_jp",
    "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦。及秦灭之后，楚、汉分争\n": "gb18030 utf-16-le",
    "話說天下大勢，分久必合，合久必分。周末七國分爭，并入于秦。\n": "big5 utf-16-be",
    "모든 행복한 가정은 서로 닮았고, 불행한 가정은 저마다의 이유로 불행하다.\n": "euc_kr",
    "Grüße aus Köln: Schöne Äpfel für die Königin\n": "latin-1 cp1252",
    "Où êtes-vous allé, ma chère? À côté de l’hôtel, ça va; un cœur « brisé »\n": "cp1252",
    "Wszystkie szczęśliwe rodziny są do siebie podobne, każda nieszczęśliwa na swój sposób.\n": "cp1250 iso8859-2",
    "Όλες οι ευτυχισμένες οικογένειες μοιάζουν μεταξύ τους\n": "cp1253",
    "it’s “quite” fine — don’t\n": "cp1252",
}
PAIRS = [(text, codec) for text, codecs in SAMPLES.items() for codec in codecs.split()]


@pytest.mark.parametrize(("text", "codec"), PAIRS, ids=[codec for _, codec in PAIRS])
def test_the_encoding_advised_gives_the_text_that_was_written(text: str, codec: str) -> None:
    data = (20 * text).encode(codec)
    advised = detect_wide(data) or detect_encoding(data)
    assert advised is not None
    assert data.decode(advised) == 20 * text
    with pytest.raises(CorpusError, match=f"say encoding {advised}"):
        decode(data, "text")


@pytest.mark.parametrize("text", list(SAMPLES))
def test_utf8_cut_anywhere_is_read_and_the_loss_is_said(text: str) -> None:
    data = (3 * text).encode()
    for cut in range(1, 40):
        for part in (data[cut:], data[:-cut]):
            read, notes = decode(part, "text")
            assert read == part.decode("utf-8", "ignore")
            assert bool(notes) == (read.encode() != part)


@pytest.mark.parametrize("text", list(SAMPLES))
def test_utf8_with_a_foreign_byte_is_called_so(text: str) -> None:
    with pytest.raises(CorpusError) as caught:
        decode(text.encode() + b"it\x92s\n" + text.encode(), "text")
    assert "UTF-8 but for 1 byte, the first on line 2 (byte 0x92" in str(caught.value)
    assert "encoding" not in str(caught.value)


@pytest.mark.parametrize("name", ["rot13", "hex", "nonsense", "idna", "a\0b", ""])
def test_what_is_no_encoding_of_texts_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="text encoding"):
        TrainConfig(encoding=name)


def test_a_folder_is_one_text_in_natural_order(tmp_path: Path) -> None:
    for name, data in {"2.txt": b"two", "10.txt": b"ten\n", ".x": b"no", "b.png": b"\0\1", "11.txt": b"end"}.items():
        (tmp_path / name).write_bytes(data)
    corpus = open_corpus(str(tmp_path))
    assert corpus.text == "two\nten\nend"
    assert "2 hidden, empty or binary" in corpus.notes[0]
    assert open_corpus(str(tmp_path / "1*.txt")).text == "ten\nend"
    assert open_corpus(os.pathsep.join(str(tmp_path / name) for name in ("11.txt", "2.txt"))).text == "end\ntwo"
