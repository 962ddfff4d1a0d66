"""Streams for truncated back-propagation: every target once in a pass, and nothing out of order.

Shapes: B streams, T characters of each in one window, N tokens in the text.
"""

import random

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charlstm.corpus.batches import IGNORED, StreamBatches, Stretches

# (N, B, T) with at least one target a stream, also where streams are shorter than a window
LAYOUTS = st.tuples(st.integers(1, 12), st.integers(1, 15), st.integers(0, 150)).map(
    lambda drawn: (drawn[0] + 1 + drawn[2], drawn[0], drawn[1])
)
each_layout = given(LAYOUTS)
quick = settings(deadline=None)


def numbered(num_tokens):
    """A text whose every token is its own position, so that what is served says where it is from."""
    return np.arange(num_tokens, dtype=np.uint16)


def one_pass(batches, begin=0):
    return [batches[begin + window] for window in range(batches.windows_per_pass)]


def served(windows):
    """Every target of some windows that is not ignored."""
    return [target for batch in windows for target in batch.targets.flatten().tolist() if target != IGNORED]


def naive_streams(tokens, batch_size):
    """(token, target) pairs dealt to the streams in order, the first ones taking one more while there is a rest."""
    pairs = [(tokens[place], tokens[place + 1]) for place in range(len(tokens) - 1)]
    streams = []
    for still_without in range(batch_size, 0, -1):
        length = -(-len(pairs) // still_without)  # an equal share of what is left, rounded up
        streams.append(pairs[:length])
        del pairs[:length]
    return streams


def naive_pass(tokens, batch_size, seq_len):
    """Windows of (tokens, targets), with `None` for a token and `IGNORED` for a target where a stream has ended."""
    streams = naive_streams(tokens, batch_size)
    longest = len(streams[0])
    windows = []
    for begin in range(0, longest, seq_len):
        end = min(begin + seq_len, longest)
        rows = [stream[begin:end] + [(None, IGNORED)] * (end - max(begin, len(stream))) for stream in streams]
        windows.append(([[token for token, _ in row] for row in rows], [[target for _, target in row] for row in rows]))
    return windows


def same(first, second):
    """Whether two batches are the same in everything."""
    return (
        torch.equal(first.tokens, second.tokens)
        and torch.equal(first.targets, second.targets)
        and first[2:] == second[2:]
    )


# --- against a naive reference, and against what a pass must be ---


@quick
@each_layout
@example((3, 2, 5))
@example((11, 4, 3))
def test_a_pass_is_that_of_the_naive_reference(layout):
    num_tokens, batch_size, seq_len = layout
    tokens = random.Random(num_tokens).choices(range(65), k=num_tokens)
    batches = StreamBatches(np.array(tokens, dtype=np.uint8), batch_size, seq_len)
    expected = naive_pass(tokens, batch_size, seq_len)
    assert batches.windows_per_pass == len(expected)
    for batch, (naive_tokens, naive_targets) in zip(one_pass(batches), expected, strict=True):
        assert batch.targets.tolist() == naive_targets
        for row, naive_row in zip(batch.tokens.tolist(), naive_tokens, strict=True):
            assert all(token == naive for token, naive in zip(row, naive_row, strict=True) if naive is not None)


@quick
@each_layout
def test_every_target_is_served_exactly_once_in_a_pass(layout):
    num_tokens, batch_size, seq_len = layout
    windows = one_pass(StreamBatches(numbered(num_tokens), batch_size, seq_len))
    assert sorted(served(windows)) == list(range(1, num_tokens))


@quick
@each_layout
def test_a_target_is_the_character_after_its_token_and_nothing_wraps(layout):
    num_tokens, batch_size, seq_len = layout
    for batch in one_pass(StreamBatches(numbered(num_tokens), batch_size, seq_len)):
        is_target = batch.targets != IGNORED
        assert torch.equal(batch.targets[is_target], batch.tokens[is_target] + 1)


@quick
@each_layout
def test_each_stream_goes_on_where_its_last_window_ended(layout):
    num_tokens, batch_size, seq_len = layout
    batches = StreamBatches(numbered(num_tokens), batch_size, seq_len)
    windows = one_pass(batches)
    ends = []
    for stream in range(batch_size):
        targets = [target for batch in windows for target in batch.targets[stream].tolist() if target != IGNORED]
        assert batches.starts[stream] == targets[0] - 1 == windows[0].tokens[stream, 0]
        assert targets == list(range(targets[0], targets[0] + len(targets)))
        ends.append(targets[-1])
    assert [0, *ends[:-1]] == batches.starts.tolist(), "one stream begins where the one before it ends"


@quick
@each_layout
def test_in_stretches_too_every_target_is_served_once_in_a_pass_and_in_another_order_each_time(layout):
    num_tokens, batch_size, seq_len = layout
    batches = StreamBatches(numbered(num_tokens), batch_size, seq_len, stretches=Stretches(2, seed=5))
    size = batches.windows_per_pass
    passes = [[batches[step] for step in range(begin, begin + size)] for begin in (0, size, 0)]
    assert all(sorted(served(windows)) == list(range(1, num_tokens)) for windows in passes)
    assert all(same(*pair) for pair in zip(passes[0], passes[2], strict=True)), "the seed and the step alone tell"
    assert sum(batch.num_targets for batch in passes[0]) == num_tokens - 1
    assert all(batch.num_targets for batch in passes[0])


def test_no_window_of_stretches_is_without_a_target_where_one_stretch_alone_is_a_character_longer() -> None:
    """Six stretches of 8 characters in windows of 4, one of 9: in one round of three there is a ninth to predict."""
    batches = StreamBatches(numbered(6 * 8 + 2), 2, 4, stretches=Stretches(2, seed=1))
    for begin in (0, 6, 12):
        windows = [batches[begin + step] for step in range(6)]
        assert sorted(batch.num_targets for batch in windows) == [8, 8, 8, 8, 8, 9]
        assert sorted(served(windows)) == list(range(1, 50))


@pytest.mark.parametrize("num_tokens", range(9, 42))
def test_stretches_may_be_of_one_character(num_tokens: int) -> None:
    batches = StreamBatches(numbered(num_tokens), 8, 1, stretches=Stretches(1, seed=1))
    windows = [batches[step] for step in range(batches.windows_per_pass)]
    assert all(batch.num_targets for batch in windows)
    assert sorted(served(windows)) == list(range(1, num_tokens))


def test_a_stretch_is_read_on_end_from_a_fresh_state_and_the_next_one_is_elsewhere() -> None:
    batches = StreamBatches(numbered(8 * 3 * 10 * 4 + 1), 8, 10, stretches=Stretches(3, seed=1))
    assert batches.windows_per_pass == 12
    firsts, ended = set(), torch.zeros(8)
    for step in range(24):
        batch = batches[step]
        assert batch.starts_anew == (step % 3 == 0)
        if batch.starts_anew:
            firsts.update(batch.tokens[:, 0].tolist())
        else:
            assert torch.equal(batch.tokens[:, 0], ended + 1), "it goes on where it was"
        ended = batch.tokens[:, -1]
    assert len(firsts) == 32, "the same 32 stretches in both passes"
    orders = [[batches[step].tokens[0, 0].item() for step in range(begin, begin + 12, 3)] for begin in (0, 12)]
    assert orders[0] != orders[1]
    other = StreamBatches(numbered(8 * 3 * 10 * 4 + 1), 8, 10, stretches=Stretches(3, seed=2))
    assert not same(batches[0], other[0])


def test_each_process_takes_its_share_of_the_stretches() -> None:
    whole = StreamBatches(numbered(500), 4, 5, stretches=Stretches(2, seed=1))
    half = StreamBatches(numbered(500), 4, 5, share=slice(2, 4), stretches=Stretches(2, seed=1))
    for step in range(whole.windows_per_pass):
        assert torch.equal(half[step].tokens, whole[step].tokens[2:])
        assert half[step].num_targets == whole[step].num_targets


@quick
@each_layout
def test_the_streams_differ_by_one_character_at_most(layout):
    num_tokens, batch_size, seq_len = layout
    windows = one_pass(StreamBatches(numbered(num_tokens), batch_size, seq_len))
    lengths = [sum(int((batch.targets[stream] != IGNORED).sum()) for batch in windows) for stream in range(batch_size)]
    assert max(lengths) - min(lengths) <= 1
    assert sum(lengths) == num_tokens - 1


@quick
@each_layout
def test_windows_are_full_but_for_the_last_and_hold_batch_size_streams(layout):
    num_tokens, batch_size, seq_len = layout
    windows = one_pass(StreamBatches(numbered(num_tokens), batch_size, seq_len))
    assert all(batch.tokens.shape == batch.targets.shape for batch in windows)
    assert [batch.tokens.shape for batch in windows[:-1]] == [(batch_size, seq_len)] * (len(windows) - 1)
    assert windows[-1].tokens.shape[0] == batch_size
    assert 1 <= windows[-1].tokens.shape[1] <= seq_len


@quick
@each_layout
def test_a_place_is_ignored_only_where_a_shorter_stream_has_ended(layout):
    num_tokens, batch_size, seq_len = layout
    windows = one_pass(StreamBatches(numbered(num_tokens), batch_size, seq_len))
    assert not any((batch.targets == IGNORED).any() for batch in windows[:-1])
    assert not (windows[-1].targets[:, :-1] == IGNORED).any()
    ignored = (windows[-1].targets[:, -1] == IGNORED).tolist()
    assert sum(ignored) == -(num_tokens - 1) % batch_size, "as many as are missing to equal streams"
    assert ignored == sorted(ignored), "the shorter streams are the last"


@quick
@each_layout
def test_the_number_of_targets_is_counted_without_the_ignored(layout):
    num_tokens, batch_size, seq_len = layout
    batches = StreamBatches(numbered(num_tokens), batch_size, seq_len)
    windows = one_pass(batches)
    assert [batch.num_targets for batch in windows] == [len(served([batch])) for batch in windows]
    assert batches.num_targets == num_tokens - 1


# --- passes and positions ---


@quick
@each_layout
def test_only_the_first_window_of_a_pass_is_first(layout):
    batches = StreamBatches(numbered(layout[0]), *layout[1:])
    rest = [False] * (batches.windows_per_pass - 1)
    steps = range(3 * batches.windows_per_pass)
    assert [batches[step].starts_anew for step in steps] == [True, *rest] * 3


@quick
@each_layout
def test_a_second_pass_equals_the_first(layout):
    batches = StreamBatches(numbered(layout[0]), *layout[1:])
    again = one_pass(batches, begin=batches.windows_per_pass)
    assert all(same(*pair) for pair in zip(one_pass(batches), again, strict=True))
    assert sorted(served(again)) == list(range(1, layout[0]))


@quick
@given(LAYOUTS, st.randoms(use_true_random=False))
def test_a_batch_depends_on_its_step_alone(layout, shuffler):
    batches = StreamBatches(numbered(layout[0]), *layout[1:])
    in_order = one_pass(batches)
    steps = list(range(len(in_order)))
    shuffler.shuffle(steps)
    for step in steps:
        fresh = StreamBatches(numbered(layout[0]), *layout[1:])
        assert same(fresh[step], in_order[step])
        assert same(batches[step], in_order[step])


def test_a_step_far_away_is_served_like_the_same_place_in_the_first_pass():
    batches = StreamBatches(numbered(50), 3, 4)
    assert batches.windows_per_pass == 5
    assert same(batches[10**12 + 3], batches[3])


# --- by hand ---


def test_two_streams_of_a_short_text_by_hand():
    batches = StreamBatches(np.array([10, 11, 12, 13, 14, 15], dtype=np.uint8), batch_size=2, seq_len=2)
    first, last = one_pass(batches)
    assert first.tokens.tolist() == [[10, 11], [13, 14]]
    assert first.targets.tolist() == [[11, 12], [14, 15]]
    assert (first.num_targets, first.starts_anew) == (4, True)
    assert last.tokens[0].tolist() == [12]
    assert last.targets.tolist() == [[13], [IGNORED]]
    assert (last.num_targets, last.starts_anew) == (1, False)


def test_one_stream_reads_the_text_in_order_as_the_post_does():
    windows = one_pass(StreamBatches(numbered(251), batch_size=1, seq_len=100))
    assert [batch.tokens.tolist() for batch in windows] == [
        [list(range(100))],
        [list(range(100, 200))],
        [list(range(200, 250))],
    ]
    assert [batch.targets[0, -1].item() for batch in windows] == [100, 200, 250]
    assert not any((batch.targets == IGNORED).any() for batch in windows)


def test_the_shortest_text_gives_each_stream_one_target():
    (only,) = one_pass(StreamBatches(numbered(5), batch_size=4, seq_len=64))
    assert only.tokens.tolist() == [[0], [1], [2], [3]]
    assert only.targets.tolist() == [[1], [2], [3], [4]]
    with pytest.raises(AssertionError):
        StreamBatches(numbered(4), batch_size=4, seq_len=64)


# --- what it serves from, and for ---


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_batches_are_int64_and_own_their_memory_whatever_the_text_is_kept_in(dtype):
    tokens = np.arange(40).astype(dtype)
    batch = StreamBatches(tokens, 3, 5)[0]
    assert batch.tokens.dtype == batch.targets.dtype == torch.int64
    batch.tokens.fill_(7)
    assert tokens.tolist() == list(range(40))


def test_the_largest_id_of_a_type_is_served_as_it_is():
    batch = StreamBatches(np.array([255, 0, 255], dtype=np.uint8), 1, 2)[0]
    assert batch.tokens.tolist() == [[255, 0]]
    assert batch.targets.tolist() == [[0, 255]]


def test_a_read_only_memory_mapped_text_serves_the_same(tmp_path):
    tokens = np.random.default_rng(1).integers(0, 65, 1003, dtype=np.uint8)
    tokens.tofile(tmp_path / "tokens.bin")
    mapped = np.memmap(tmp_path / "tokens.bin", dtype=np.uint8, mode="r")
    from_file, from_memory = StreamBatches(mapped, 7, 16), StreamBatches(tokens, 7, 16)
    pairs = zip(one_pass(from_file), one_pass(from_memory), strict=True)
    assert all(same(*pair) for pair in pairs)
    assert from_file.windows_per_pass == 9


def test_the_loss_leaves_out_what_is_ignored():
    batch = one_pass(StreamBatches(np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8), 2, 2))[-1]
    logits = torch.zeros(2, 1, 3)  # ln 3 for each target
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="sum")
    assert loss.item() == pytest.approx(batch.num_targets * np.log(3))
