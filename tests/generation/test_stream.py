"""Writing, against loops through `forward` written here; tests of choosing a character are in test_sampling.py."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from kernel_marks import needs_compiler
from torch import Tensor

from charlstm.config import ModelConfig, SampleConfig
from charlstm.errors import VocabularyError
from charlstm.generation import stream as stream_module
from charlstm.generation.engine import start_session
from charlstm.generation.stream import TextChunk, TextWriter, to_chunk
from charlstm.kernel import decoder
from charlstm.kernel.decoder import DecodedTokens
from charlstm.language_model import LanguageModel
from charlstm.model import CharLSTM
from charlstm.vocabulary import Vocabulary

LETTERS = Vocabulary.from_text("\n abcdefghijklmnopqrstuvwxyz")
BYTES = Vocabulary.from_text("", "bytes")


def make(vocabulary: Vocabulary = LETTERS, scale: float = 1.0, **settings: object) -> CharLSTM:
    """A random model; a larger `scale` of its weights makes it heed what it reads and gives it strong opinions."""
    torch.manual_seed(11)
    model = CharLSTM(len(vocabulary), ModelConfig(**{"hidden_size": 12, "num_layers": 2, **settings}))
    with torch.no_grad():
        for parameter in filter(lambda each: each.dim() > 1, model.parameters()):
            parameter.mul_(scale)
    return model


def stream(
    model: CharLSTM,
    vocabulary: Vocabulary,
    prompt: str,
    config: SampleConfig,
    written: Sequence[str] = (),
    num_likeliest: int = 0,
) -> Iterator[TextChunk]:
    return LanguageModel(model, vocabulary).stream(prompt, config, written, num_likeliest)


def write(model: CharLSTM, prompt: str = "abc", vocabulary: Vocabulary = LETTERS, **settings: object) -> str:
    return "".join(chunk.text for chunk in stream(model, vocabulary, prompt, SampleConfig(**settings)))


def ids_of(text: str) -> list[int]:
    return [LETTERS.characters.index(char) for char in text]


@torch.no_grad()
def logits_after(model: CharLSTM, ids: list[int]) -> Tensor:
    """The whole text read from nothing: logits (N, V) of what follows each character."""
    was_training = model.training
    logits, _ = model.eval()(torch.tensor([ids]))
    model.train(was_training)
    return logits[0]


# Whole texts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"embedding_dim": 5}, {"dropout": 0.5}])
def test_temperature_0_is_exactly_greedy(settings: dict[str, object]) -> None:
    model = make(scale=5.0, **settings)
    ids = ids_of("once upon")
    for _ in range(60):
        ids.append(int(logits_after(model, ids)[-1].argmax()))
    expected = "".join(LETTERS.characters[index] for index in ids[len("once upon") :])
    assert len(set(expected)) > 3, "too monotonous to tell one loop from another"
    assert write(model, "once upon", num_chars=60, temperature=0) == expected


def test_same_seed_same_text_and_another_seed_another_text() -> None:
    model = make()
    first = write(model, num_chars=80, seed=1)
    assert write(model, num_chars=80, seed=1) == first
    assert write(model, num_chars=80, seed=2) != first


def test_a_longer_text_begins_with_the_shorter_one() -> None:
    model = make()
    assert write(model, num_chars=80, seed=1).startswith(write(model, num_chars=30, seed=1))


@pytest.mark.parametrize("num_chars", [1, 2, 17, 300])
def test_exactly_num_chars_are_written_with_a_figure_each(num_chars: int) -> None:
    pieces = list(stream(make(), LETTERS, "abc", SampleConfig(num_chars=num_chars)))
    assert sum(len(piece.text) for piece in pieces) == num_chars
    assert all(len(piece.surprises) == len(piece.text) > 0 for piece in pieces)


def test_without_an_end_it_goes_on_until_it_is_left() -> None:
    pieces = stream(make(), LETTERS, "abc", SampleConfig(num_chars=0))
    assert sum(len(next(pieces).text) for _ in range(30)) > 500


def test_the_likeliest_and_their_probabilities_are_those_of_the_unfiltered_model() -> None:
    model = make(scale=5.0)
    config = SampleConfig(num_chars=40, temperature=0.5, top_k=3)
    chunks = list(stream(model, LETTERS, "abc", config, num_likeliest=5))
    text = "".join(chunk.text for chunk in chunks)
    expected = logits_after(model, ids_of("abc" + text))[2:-1].softmax(dim=-1).topk(5)
    found = [names for chunk in chunks for names in chunk.likeliest]
    assert found == ["".join(LETTERS.characters[index] for index in row) for row in expected.indices.tolist()]
    numbers = torch.tensor([row for chunk in chunks for row in chunk.probabilities])
    torch.testing.assert_close(numbers, expected.values, rtol=1e-4, atol=1e-5)
    assert all(not chunk.likeliest for chunk in stream(model, LETTERS, "abc", config))


def test_a_text_ends_with_the_stop_string_wherever_pieces_are_cut() -> None:
    model = make()
    whole = write(model, num_chars=3000, seed=5)
    for place in (0, 6, 7, 8, 23, 500, 1500, 2500):
        stop = whole[place : place + 5]
        expected = whole[: whole.index(stop) + 5]
        assert write(model, num_chars=3000, seed=5, stop=stop) == expected
    assert write(model, num_chars=300, seed=5, stop="no such thing") == whole[:300]


def test_prompt_and_stop_are_read_as_a_text_with_windows_line_ends_or_another_normal_form_would_be():
    vocabulary = Vocabulary.from_text("\nabe\u0301")
    model = make(vocabulary)
    whole = write(model, "a\nb", vocabulary, num_chars=300, seed=5)
    line, accented = whole.index("\n") + 1, whole.index("e\u0301") + 2
    assert write(model, "\ufeffa\r\nb", vocabulary, num_chars=300, seed=5, stop="\r\n") == whole[:line]
    assert write(model, "a\rb", vocabulary, num_chars=300, seed=5, stop="é") == whole[:accented]


def samples(model: CharLSTM, prompt: str = "abc", written: tuple[str, ...] = (), **settings: object) -> list[str]:
    config = SampleConfig(**settings)
    texts = [""] * config.num_samples
    for chunk in stream(model, LETTERS, prompt, config, written):
        texts[chunk.sample] += chunk.text
    return texts


BY = pytest.mark.parametrize("has_kernel", [pytest.param(True, marks=needs_compiler), False])


@BY
def test_one_of_several_samples_is_what_it_is_alone_and_continued(
    has_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_kernel:
        monkeypatch.setattr(decoder, "is_available", lambda *_: False)
    model, how = make(), {"seed": 6, "no_repeat": 5}
    several = samples(model, num_samples=4, num_chars=90, **how)
    assert len(set(several)) == 4
    assert samples(model, num_chars=90, **how) == several[:1]
    assert samples(model, num_samples=2, num_chars=90, **how) == several[:2]
    begun = tuple(text[: 33 - number] for number, text in enumerate(several))  # not all as far as the others
    on = samples(model, "abc", begun, num_samples=4, num_chars=57, **how)
    assert on == [text[33 - number : 90 - number] for number, text in enumerate(several)]
    assert samples(model, "abc", begun[:1], num_chars=57, **how) == [several[0][33:]]


def test_a_stop_string_ends_each_sample_by_itself() -> None:
    model = make()
    free = samples(model, num_samples=3, num_chars=2000, seed=2)
    stopped = samples(model, num_samples=3, num_chars=2000, seed=2, stop="ab")
    assert stopped == [text[: text.index("ab") + 2] if "ab" in text else text for text in free]
    assert len({len(text) for text in stopped}) == 3


def test_a_continued_text_stops_at_a_stop_string_that_began_before() -> None:
    model = make()
    whole = write(model, num_chars=60, seed=5)
    stop = whole[28:33]
    assert samples(model, "abc", (whole[:30],), num_chars=30, seed=5, stop=stop) == [whole[30:33]]


@needs_compiler
@pytest.mark.parametrize("settings", [{}, {"top_k": 5, "top_p": 0.9, "no_repeat": 4}, {"temperature": 0}])
def test_without_a_compiler_the_same_is_written(settings: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, as small models are; at a rounding's distance a draw may fall otherwise, here none does."""
    model = make(scale=3.0)
    compiled = write(model, num_chars=200, **settings)
    monkeypatch.setattr(decoder, "is_available", lambda *_: False)
    assert write(model, num_chars=200, **settings) == compiled


def test_top_k_1_writes_the_greedy_text_whatever_the_seed() -> None:
    model = make(scale=5.0)
    greedy = write(model, num_chars=40, temperature=0)
    assert write(model, num_chars=40, top_k=1, seed=7) == write(model, num_chars=40, top_p=1e-9, seed=8) == greedy


@pytest.mark.parametrize("prompt", ["abc", "", "once upon a time"])
@pytest.mark.parametrize(
    "settings", [{"temperature": 0.7, "top_k": 9}, {"temperature": 2.0, "top_p": 0.9}, {"temperature": 0}]
)
def test_surprises_are_minus_log_softmax_of_the_unfiltered_model(prompt: str, settings: dict[str, object]) -> None:
    model = make(scale=5.0)
    chunks = list(stream(model, LETTERS, prompt, SampleConfig(num_chars=40, **settings)))
    start = ids_of(prompt or "\n")
    written = ids_of("".join(chunk.text for chunk in chunks))
    logits = logits_after(model, start + written)[len(start) - 1 :].double()
    expected = [math.log(sum(row.exp().tolist())) - row[index].item() for row, index in zip(logits, written)]  # noqa: B905
    assert [figure for chunk in chunks for figure in chunk.surprises] == pytest.approx(expected, abs=1e-4)


def test_a_long_prompt_read_in_windows_equals_it_read_at_once() -> None:
    """Longer than two of the windows it is read in, by a network that remembers more than one of them."""
    model = make(scale=2.0, forget_bias=5.0)
    rng = np.random.default_rng(1)
    prompt = "".join(rng.choice(list(LETTERS.characters), size=9001))
    expected = logits_after(model, ids_of(prompt))[-1].log_softmax(-1)
    only_the_last = logits_after(model, ids_of(prompt[-4096:]))[-1].log_softmax(-1)
    assert (expected - only_the_last).abs().max() > 0.5, "remembers too little to tell one way of reading from another"
    chunk = next(stream(model, LETTERS, prompt, SampleConfig(num_chars=1, temperature=0)))
    assert ids_of(chunk.text) == [int(expected.argmax())]
    assert chunk.surprises[0] == pytest.approx(-expected.max().item(), abs=1e-4)


def test_an_empty_prompt_starts_a_line() -> None:
    model = make(scale=5.0)
    assert write(model, "", num_chars=50, seed=3) == write(model, "\n", num_chars=50, seed=3)
    assert write(model, "", num_chars=50, seed=3) != write(model, "a", num_chars=50, seed=3)


def test_an_empty_prompt_without_newline_in_the_vocabulary_starts_with_its_first_character() -> None:
    vocabulary = Vocabulary(("x", "y", "z"))
    model = make(vocabulary, scale=5.0)
    assert write(model, "", vocabulary, num_chars=50) == write(model, "x", vocabulary, num_chars=50)
    assert write(model, "", vocabulary, num_chars=50) != write(model, "y", vocabulary, num_chars=50)


def test_a_prompt_is_fitted_to_the_vocabulary() -> None:
    model = make(scale=5.0)
    assert write(model, "ABC", num_chars=50) == write(model, "abc", num_chars=50)


def test_an_unknown_prompt_is_refused_by_name_before_anything_is_written() -> None:
    model = make()
    calls: list[object] = []
    model.lstm.register_forward_hook(lambda *args: calls.append(args))
    with pytest.raises(VocabularyError, match=r"'é'.*'漢'"):
        next(stream(model, LETTERS, "café 漢", SampleConfig()))
    assert not calls


# What writing leaves alone -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_the_global_random_state_is_untouched(temperature: float) -> None:
    model = make(dropout=0.5).train()
    torch.manual_seed(99)
    before = torch.get_rng_state()
    write(model, num_chars=20, temperature=temperature)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_global_random_state_does_not_matter() -> None:
    model = make(dropout=0.5).train()
    torch.manual_seed(1)
    first = write(model, num_chars=40)
    torch.manual_seed(2)
    assert write(model, num_chars=40) == first


@pytest.mark.parametrize("is_training", [True, False])
def test_the_models_mode_is_the_consumers_at_every_piece(is_training: bool) -> None:
    model = make(dropout=0.5).train(is_training)
    for _ in stream(model, LETTERS, "abc", SampleConfig(num_chars=5)):
        assert model.training == model.head.training == model.lstm.training == is_training
    assert model.training == is_training


def test_dropout_plays_no_part_in_a_model_that_is_being_trained() -> None:
    model = make(dropout=0.9)
    assert write(model.train(), num_chars=60) == write(model.eval(), num_chars=60)


def test_inference_mode_does_not_leak_to_the_consumer_between_pieces() -> None:
    model = make()
    pieces: Iterator[TextChunk] = stream(model, LETTERS, "abc", SampleConfig(num_chars=5))
    for _ in pieces:
        assert not torch.is_inference_mode_enabled()
        assert torch.is_grad_enabled()
        model(torch.tensor([[1, 2]]))[0].sum().backward()  # the consumer may train between two pieces
    assert not torch.is_inference_mode_enabled()


def test_leaving_early_leaves_nothing_switched() -> None:
    model = make().train()
    pieces = stream(model, LETTERS, "abc", SampleConfig(num_chars=5))
    next(pieces)
    del pieces
    assert model.training
    assert not torch.is_inference_mode_enabled()


def test_writing_leaves_no_gradients_and_no_changed_weights() -> None:
    model = make()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    write(model, num_chars=20)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


# Bytes ---------------------------------------------------------------------------------------------------------------


def reciter(data: bytes) -> CharLSTM:
    """A model of bytes whose greedy choice recites `data`, which repeats no byte, in a circle.

    Built by hand from its weights: every unit's gates stand open for its own input byte and shut the memory of others.
    """
    model = CharLSTM(256, ModelConfig(level="bytes", hidden_size=256))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        weight_ih, _, bias_ih, _ = model.lstm.all_weights[0]
        bias_ih[256:512] = -50.0  # forget
        bias_ih[0:256] = bias_ih[768:1024] = 50.0  # input and output gates open
        weight_ih[512:768] = 5.0 * torch.eye(256)  # unit b is on when byte b was read
        for now, following in zip(data, data[1:] + data[:1], strict=True):
            model.head.weight[following, now] = 20.0
    return model


@pytest.mark.parametrize("pieces", [1, 3, 1024])
def test_bytes_are_written_in_whole_characters_with_the_surprise_of_all_their_bytes(
    pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = "aé漢😀".encode()
    assert len(set(data)) == len(data), "the reciter needs distinct bytes"
    monkeypatch.setattr(stream_module, "_FIRST_PIECE", pieces)
    monkeypatch.setattr(TextWriter, "_longest_piece", pieces)
    model, config = reciter(data), SampleConfig(num_chars=2 * len(data), temperature=0)
    chunks = list(stream(model, BYTES, "a", config, num_likeliest=2))
    assert "".join(chunk.text for chunk in chunks) == "é漢😀a" * 2
    assert all(len(chunk.surprises) == len(chunk.likeliest) == len(chunk.text) > 0 for chunk in chunks)
    read = torch.tensor([list(b"a" + "é漢😀a".encode() * 2)])
    with torch.no_grad():
        bytewise = -model(read)[0][0, :-1].log_softmax(-1).gather(-1, read[0, 1:, None])[:, 0].double()
    expected = [each.sum().item() for each in bytewise.split([2, 3, 4, 1] * 2)]
    assert [figure for chunk in chunks for figure in chunk.surprises] == pytest.approx(expected, abs=1e-5)
    first_bytes = [chr(char.encode()[0]) for char in "é漢😀a" * 2]
    assert [names[0] for chunk in chunks for names in chunk.likeliest] == first_bytes


def test_bytes_that_end_within_a_character_say_so_and_lose_no_figure() -> None:
    config = SampleConfig(num_chars=4, temperature=0)
    chunks = list(stream(reciter("aé漢😀".encode()), BYTES, "a", config))
    assert "".join(chunk.text for chunk in chunks) == "é\ufffd"
    assert all(len(chunk.surprises) == len(chunk.text) for chunk in chunks)


@pytest.mark.parametrize(
    ("data", "text", "surprises"),
    [
        (b"\xe1\xe1", "\ufffd\ufffd", (1, 2)),  # the first byte of three, twice
        (b"\xe1A", "\ufffdA", (1, 2)),
        (b"\xf1\x80\xc3\xa9", "\ufffdé", (1 + 2, 4 + 8)),
        (b"A\xf0\x9f\x98", "A\ufffd", (1, 2 + 4 + 8)),
        (b"\xed\xa0", "\ufffd\ufffd", (1, 2)),  # a surrogate, of which Python's decoder waits for more
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd", (1, 2, 4)),
        (b"\xed\xa0A", "\ufffd\ufffdA", (1, 2, 4)),
        (b"\xff\xc3\xff", "\ufffd\ufffd\ufffd", (1, 2, 4)),
    ],
)
def test_a_character_that_is_broken_off_has_the_figures_of_its_own_bytes(
    data: bytes, text: str, surprises: tuple[float, ...]
) -> None:
    """By hand: byte number n costs 2 to the power n nats."""
    ids = np.frombuffer(data, np.uint8).astype(np.int32)[None]
    costs = 2.0 ** np.arange(len(data), dtype=np.float32)[None]
    written = DecodedTokens(ids, costs, ids[:, :, None], costs[:, :, None])
    chunk = to_chunk(BYTES, written)
    assert (chunk.text, chunk.surprises) == (text, surprises)
    firsts = np.cumsum([0, *(bin(int(each)).count("1") for each in surprises[:-1])])
    assert chunk.probabilities == tuple((costs[0, first],) for first in firsts)


def test_random_bytes_never_break_a_character() -> None:
    """An untrained model writes noise; every piece must still be text, and every byte accounted for."""
    model, config = make(BYTES), SampleConfig(num_chars=400, temperature=1.0)
    chunks = list(stream(model, BYTES, "漢", config))
    ids = np.concatenate([each.ids[0] for each in [start_session(model, [START], config).write(config, 400, 0)]])
    assert "".join(chunk.text for chunk in chunks) == bytes(ids.tolist()).decode("utf-8", "replace")
    assert all(len(chunk.surprises) == len(chunk.text) for chunk in chunks)
    total = start_session(model, [START], config).write(config, 400, 0).surprises.sum()
    assert sum(figure for chunk in chunks for figure in chunk.surprises) == pytest.approx(total, rel=1e-5)
    for chunk in chunks:
        chunk.text.encode("utf-8")  # a lone surrogate would raise


START = np.frombuffer("漢".encode(), np.uint8).astype(np.int32)
