"""Any file a person may bring: read, or refused in one sentence that says what to do."""

import codecs
import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlstm.corpus import Corpus, decode, open_corpus, open_file
from charlstm.errors import CharLSTMError, CorpusError

TEXT = "Grüße, 日本 👩‍👩‍👧\nand the rest.\n"
LATIN = "Grüße aus Köln, s'il vous plaît: déjà vu.\n" * 50


def refusal(function, *arguments, **options):
    """The one sentence with which something is refused."""
    with pytest.raises(CorpusError) as caught:
        function(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def garbage(length, without=b"\0"):
    """Bytes as in a compressed file, always the same."""
    return bytes(random.Random(1).choices([byte for byte in range(256) if byte not in without], k=length))


# --- beginnings ---


def test_lines_begin_with_a_word_or_with_four_characters_and_the_most_frequent_come_first():
    lines = ["The cat", "A dog", "The end", "吾輩は猫である", "　吾輩は猫", "  ", "", "The", "    The", "\tA cat", "A"]
    lines += 9 * ["} else {", "\ud800\ud800", "//"]
    assert Corpus("text", "\n".join(lines)).beginnings == ("The ", "A ", "吾輩は猫")
    assert Corpus("text", "\n\n").beginnings == ()


# --- encodings ---


@pytest.mark.parametrize("encoding", ["auto", "utf-8"])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8], ids=["bare", "with a mark"])
def test_utf8_is_read_with_or_without_its_mark_and_without_a_note(mark, encoding):
    assert decode(mark + TEXT.encode(), "text", encoding) == (TEXT, ())


@pytest.mark.parametrize(
    ("mark", "codec"), [(codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")], ids=["LE", "BE"]
)
def test_utf16_with_a_mark_is_read_and_said_so(mark, codec):
    text, notes = decode(mark + TEXT.encode(codec), "text")
    assert text == TEXT
    assert len(notes) == 1
    assert "UTF-16" in notes[0]
    assert decode(mark + TEXT.encode(codec), "text", "utf-16")[0] == TEXT


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_refused_and_the_encoding_offered(codec):
    message = refusal(decode, "plain words".encode(codec), "words.txt")
    assert message.startswith("words.txt holds NUL bytes")
    assert "encoding utf-16" in message


def test_utf16_of_half_a_character_is_refused():
    assert "not utf-16" in refusal(decode, codecs.BOM_UTF16_LE + "ab".encode("utf-16-le")[:-1], "cut")
    assert "not utf-16" in refusal(decode, b"abc", "odd", "utf-16")


def test_latin1_is_offered_and_not_guessed():
    data = LATIN.encode("latin-1")
    message = refusal(decode, data, "letter.txt")
    assert message == "letter.txt is not UTF-8 (byte 0xFC at position 2); if it is Latin-1 text, say encoding latin-1."
    assert data[2] == 0xFC


def test_latin1_is_read_when_asked_for():
    assert decode(LATIN.encode("latin-1"), "letter.txt", "latin-1") == (LATIN, ("Read as latin-1, as asked.",))


@settings(deadline=None)
@given(st.binary(min_size=1).filter(lambda data: not {0, 13} & set(data)))
def test_latin1_gives_each_byte_its_character(data):
    assert decode(data, "bytes", "latin-1")[0] == "".join(map(chr, data))


@pytest.mark.parametrize("encoding", ["auto", "utf-8"])
def test_latin1_is_not_offered_for_binary_garbage(encoding):
    message = refusal(decode, garbage(5000), "photo.jpg", encoding)
    assert message == "photo.jpg is not a text file; choose another one."


def test_a_text_with_a_few_control_characters_is_still_offered_as_latin1():
    coloured = "\x1b[1mle garçon était déjà là\x1b[0m\tà l'hôtel\f\n" * 300 + "\x07"
    assert "latin-1" in refusal(decode, coloured.encode("latin-1"), "log.txt")


@pytest.mark.parametrize("encoding", ["auto", "utf-8", "utf-16", "latin-1"])
def test_nul_bytes_are_refused_whatever_the_encoding(encoding):
    data = "text\0and more".encode("utf-16" if encoding == "utf-16" else "utf-8")
    assert re.match(r"image\.bin .*holds NUL bytes", refusal(decode, data, "image.bin", encoding))


def test_a_real_binary_file_is_refused():
    assert "NUL" in refusal(decode, b"\x89PNG\r\n\x1a\n" + garbage(500, without=b"") + b"\0", "image.png")


@pytest.mark.parametrize("data", [b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE])
def test_an_empty_text_is_refused_also_if_there_is_a_mark(data):
    assert refusal(decode, data, "nothing.txt").startswith("nothing.txt is empty; ")


@settings(deadline=None)
@given(st.text(min_size=1).filter(lambda text: not set("\0\r\ufeff") & set(text)))
def test_any_text_without_nul_and_carriage_return_is_read_as_it_is(text):
    assert decode(text.encode(), "text") == (text, ())
    assert decode(text.encode("utf-16"), "text")[0] == text


@settings(deadline=None)
@given(st.binary(), st.sampled_from(["auto", "utf-8", "utf-16", "latin-1"]))
def test_any_bytes_are_read_or_refused_and_what_is_read_is_clean(data, encoding):
    try:
        text, _ = decode(data, "bytes", encoding)
    except CorpusError:
        return
    assert text
    assert not set("\0\r") & set(text)
    text.encode()  # no lone surrogates


# --- line ends ---


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("a\r\nb\r\n", "a\nb\n"),
        ("a\rb\r", "a\nb\n"),
        ("a\r\nb\rc\nd", "a\nb\nc\nd"),
        ("\r\r\n\n\r", "\n\n\n\n"),
    ],
    ids=["windows", "old mac", "mixed", "empty lines"],
)
def test_line_ends_become_newlines_and_a_note_says_so(raw, text):
    read, notes = decode(raw.encode(), "text")
    assert read == text
    assert len(notes) == 1
    assert "line ends" in notes[0]


@settings(deadline=None)
@given(st.lists(st.text("ab"), min_size=1), st.sampled_from(["\r\n", "\r"]))
def test_lines_stay_the_same_lines_under_any_line_end(lines, line_end):
    assert decode(("x" + line_end.join(lines)).encode(), "text")[0] == "x" + "\n".join(lines)


def test_each_thing_done_to_the_text_has_its_note():
    notes = decode("a\r\nb".encode("utf-16"), "text")[1]
    assert ["UTF-16" in note for note in notes] == [True, False]
    assert ["line ends" in note for note in notes] == [False, True]


# --- files ---


def test_a_file_is_read_and_named_by_its_last_part(tmp_path):
    (tmp_path / "poems.txt").write_bytes(b"one\r\ntwo")
    corpus = open_corpus(str(tmp_path / "poems.txt"))
    assert corpus == open_file(tmp_path / "poems.txt") == Corpus("poems.txt", "one\ntwo", corpus.notes)
    assert open_file(tmp_path / "poems.txt", name="my poems") == Corpus("my poems", "one\ntwo", corpus.notes)


def test_a_file_is_read_in_the_encoding_asked_for(tmp_path):
    (tmp_path / "letter").write_bytes(b"\xe9t\xe9")
    assert open_corpus(str(tmp_path / "letter"), "latin-1").text == "été"
    assert "letter is not UTF-8" in refusal(open_corpus, str(tmp_path / "letter"))


def test_a_tilde_stands_for_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "notes.txt").write_text("at home")
    assert open_corpus("~/notes.txt").text == "at home"


def test_a_missing_file_is_called_by_its_name_unless_the_caller_says_how(tmp_path):
    path = tmp_path / "none.txt"
    assert refusal(open_corpus, str(path)).startswith("there is no file none.txt;")
    with pytest.raises(CorpusError, match=f"^there is no file {path};"):
        open_corpus(str(path), shown=str(path))


def test_a_device_is_refused_unread():
    assert "device or pipe" in refusal(open_file, Path("/dev/zero"))


def test_the_home_of_nobody_is_a_missing_file():
    assert "there is no file" in refusal(open_corpus, "~nobody-of-this-name-lives-here/text.txt")


def test_a_folder_is_refused(tmp_path):
    assert "is a folder" in refusal(open_file, tmp_path)
    assert "there are no text files in" in refusal(open_corpus, str(tmp_path))


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "empty.txt").touch()
    assert refusal(open_file, tmp_path / "empty.txt").startswith("empty.txt is empty")


def test_what_the_system_does_not_let_read_is_refused_with_its_reason(tmp_path):
    (tmp_path / "file").touch()  # refusals of the system that root meets too
    assert "can't be read (Not a directory)" in refusal(open_file, tmp_path / "file" / "below")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "can't be read" in refusal(open_file, tmp_path / "loop")


def test_a_text_given_in_place_of_a_path_is_refused_and_no_crash():
    assert "can't be read" in refusal(open_corpus, "To be or not to be, that is the question. " * 200)


def test_corpus_errors_are_this_packages():
    assert issubclass(CorpusError, CharLSTMError)
