"""Benchmark suites: what is measured, on which sizes, beside which baseline."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from charlstm.bench import gpu, timing
from charlstm.bench.baseline_models import (
    BaselineLSTM,
    BaselineTraining,
    evaluate_peer,
    generate_with_peer,
    prepare_for_peer,
)
from charlstm.bench.gpu import GpuSizes
from charlstm.bench.report import BenchConfig, BenchReport, Result, Skipped, Suite, SuiteName
from charlstm.bench.timing import Meter, Task, compare, environment, find_gpu, multiplies_bfloat16
from charlstm.config import ModelConfig, SampleConfig, TrainConfig
from charlstm.corpus import Split, open_corpus
from charlstm.evaluation import evaluate_batched, evaluate_stateful, evaluate_windows
from charlstm.events import StepDone
from charlstm.generation.engine import start_session
from charlstm.language_model import LanguageModel
from charlstm.training import Trainer
from charlstm.vocabulary import Vocabulary

_CHARACTERS = "\n" + "".join(map(chr, range(ord(" "), ord("~") + 1)))
_SPEED = "chars/s"
_WORK = "GFLOP/s"
_COLD_WINDOW = 256
_VALIDATION_CHARS = 100  # the trainer validates once before its first step, which would be half of the time spent


@dataclass(frozen=True)
class Shape:
    """A network and one training step of it."""

    num_layers: int
    hidden_size: int
    batch_size: int = 1
    seq_len: int = 1

    @property
    def label(self) -> str:
        """For example `2x512`."""
        return f"{self.num_layers}x{self.hidden_size}"

    @property
    def model(self) -> ModelConfig:
        """Settings of the network: one-hot input, no dropout."""
        return ModelConfig(num_layers=self.num_layers, hidden_size=self.hidden_size)

    def flops(self, vocab_size: int) -> float:
        """Return the floating-point operations of training on one character: 6 for each weight that is multiplied.

        A multiplication and an addition, once forward and twice backward. The weights are the recurrent matrices, the
        input matrices above the first layer, and the head; the first layer's input is one-hot, which picks a column.
        """
        square = 4 * self.hidden_size**2
        return 6.0 * (square * (2 * self.num_layers - 1) + self.hidden_size * vocab_size)


@dataclass(frozen=True)
class Sizes:
    """Sizes of the measurements; the defaults are those of the published figures."""

    vocab_size: int = 65  # as tiny-shakespeare's, and so is the length
    text_chars: int = 1_115_394
    matmul: int = 1024
    train: tuple[Shape, ...] = (Shape(2, 512, 64, 128), Shape(1, 384, 8, 64))
    one_stream: tuple[Shape, ...] = (Shape(2, 512), Shape(1, 384))
    many_streams: Shape = Shape(2, 512, batch_size=64)
    written_chars: int = SampleConfig().num_chars  # by us in a stream, in one unit of work: what a person gets
    stepped_chars: int = 64  # by each stream of a yardstick, which prepares nothing
    evaluate: Shape = Shape(1, 512)
    stateful_chars: int = 8_192
    windows: int = 200
    prepare_bytes: int = 50_000_000
    prepare_naive_bytes: int = 5_000_000
    bundled_model: Path = timing.BUNDLED_MODEL
    gpu: GpuSizes = field(default_factory=GpuSizes)


Findings = Iterator[Result | Skipped]


def run(suite: SuiteName, config: BenchConfig, meter: Meter | None = None, sizes: Sizes | None = None) -> BenchReport:
    """Measure a suite, or all of them one after another."""
    meter, sizes = meter or Meter(config.seconds), sizes or Sizes()
    names: tuple[Suite, ...] = tuple(SUITES) if suite == "all" else (suite,)
    found: list[Result | Skipped] = []
    with _threads(config.threads or torch.get_num_threads()):
        for name in names:
            found += SUITES[name](meter, sizes)
        where = environment([each for each in found if isinstance(each, Skipped)])
    return BenchReport(
        suite=suite, environment=where, results=tuple(each for each in found if isinstance(each, Result))
    )


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(meter: Meter, sizes: Sizes) -> Findings:
    types = [torch.float32, *([torch.bfloat16] if multiplies_bfloat16() else [])]
    matmuls = {_name_of(dtype): _matmul(dtype, sizes.matmul) for dtype in types}
    fastest = list(matmuls)[-1]
    for number, shape in enumerate(sizes.train):
        name = f"train/{shape.label}"
        with _split(sizes, shape) as split:
            own = {name: ""}
            if "precision" in TrainConfig.model_fields:
                own = {name: "auto", f"{name}/float32": "float32"}
            tasks = [_training(each, precision, split, shape) for each, precision in own.items()]
            peer = _peer_training(split, shape)
            rates = meter.take_turns([*tasks, peer, *matmuls.values()], warm_up=2)
        if number == 0:
            yield compare("matmul/float32", _WORK, rates["matmul/float32"])
            if fastest == "matmul/float32":
                yield Skipped(name="matmul/bfloat16", why="the processor has no instructions for it")
            else:
                yield compare(fastest, _WORK, rates[fastest], ("matmul/float32", rates["matmul/float32"]))
        for each in own:
            yield compare(each, _SPEED, rates[each], (peer.name, rates[peer.name]))
        giga = shape.flops(sizes.vocab_size) / 1e9
        yield compare(f"{name}/flops", _WORK, [giga * rate for rate in rates[name]], (fastest, rates[fastest]))


def _name_of(dtype: torch.dtype) -> str:
    return f"matmul/{str(dtype).removeprefix('torch.')}"


def _matmul(dtype: torch.dtype, size: int) -> Task:
    left, right, product = (torch.randn(size, size).to(dtype) for _ in range(3))

    def work() -> float:
        torch.mm(left, right, out=product)
        return 2 * size**3 / 1e9

    return Task(_name_of(dtype), work, share=0.3)


def _training(name: str, precision: str, split: Split, shape: Shape) -> Task:
    """Yield the steps of our own trainer; what it reports at step 0 is over before the first step is done."""
    settings = {"batch_size": shape.batch_size, "seq_len": shape.seq_len, "sample_chars": 1, "max_minutes": 0.0}
    settings |= {"state_reset": 0.0}  # the yardstick always carries
    settings |= {"max_steps": 10**9, "eval_every": 10**9, "sample_every": 10**9}
    config = TrainConfig(**{**settings, **({"precision": precision} if precision else {})})
    events = Trainer(LanguageModel.create(split.vocabulary, shape.model, seed=1), split, config).run()

    def work() -> float:
        while not isinstance(next(events), StepDone):
            pass
        return shape.batch_size * shape.seq_len

    return Task(name, work)


def _peer_training(split: Split, shape: Shape) -> Task:
    tokens = torch.from_numpy(split.train[:].astype(np.int64))
    peer = BaselineLSTM(len(split.vocabulary), shape.hidden_size, shape.num_layers)
    training = BaselineTraining(peer, tokens, shape.batch_size, shape.seq_len, learning_rate=5e-3)

    def work() -> float:
        training.step()
        return shape.batch_size * shape.seq_len

    return Task(f"nn.LSTM, Adam, float32, {shape.label}", work)


def _generate(meter: Meter, sizes: Sizes) -> Findings:
    vocabulary = Vocabulary(tuple(_CHARACTERS[: sizes.vocab_size]))
    for shape in sizes.one_stream:
        name = f"generate/{shape.label}/1"
        ours = LanguageModel.create(vocabulary, shape.model, seed=1)
        with _threads(1):  # as the command `generate` and the page: small steps lose more by waiting for each other
            result = _beside_a_peer(meter, Task(name, partial(_write, ours, sizes.written_chars)), shape, sizes)
        yield result
    shape = sizes.many_streams
    ours = LanguageModel.create(vocabulary, shape.model, seed=1)
    batch = partial(_write_batch, ours, shape.batch_size, sizes.written_chars)
    yield _beside_a_peer(meter, Task(f"generate/{shape.label}/{shape.batch_size}", batch), shape, sizes)


def _write(ours: LanguageModel, num_chars: int) -> float:
    return len(ours.generate("", SampleConfig(num_chars=num_chars)))


def _beside_a_peer(meter: Meter, task: Task, shape: Shape, sizes: Sizes) -> Result:
    characters, temperature = _CHARACTERS[: sizes.vocab_size], SampleConfig().temperature
    peer = BaselineLSTM(sizes.vocab_size, shape.hidden_size, shape.num_layers)

    def work() -> float:
        texts = generate_with_peer(peer, shape.batch_size, sizes.stepped_chars, characters, temperature)
        return sum(map(len, texts))

    streams = "one stream" if shape.batch_size == 1 else f"batch of {shape.batch_size}"
    threads = torch.get_num_threads()
    beside = Task(f"nn.LSTM stepped, {streams}, {threads} {'thread' if threads == 1 else 'threads'}", work)
    rates = meter.take_turns([task, beside], warm_up=1)
    return compare(task.name, _SPEED, rates[task.name], (beside.name, rates[beside.name]))


def _write_batch(ours: LanguageModel, streams: int, length: int) -> float:
    """Write samples as `stream` does, only more of them than a person may ask for."""
    newline = ours.vocabulary.encode("\n").astype(np.int32)
    texts = start_session(ours.model, [newline] * streams, SampleConfig())
    return float(texts.write(SampleConfig(), length, 0).ids.size)


def _evaluate(meter: Meter, sizes: Sizes) -> Findings:
    shape, num_cold = sizes.evaluate, sizes.windows * _COLD_WINDOW
    vocabulary = Vocabulary(tuple(_CHARACTERS[: sizes.vocab_size]))
    model = LanguageModel.create(vocabulary, shape.model, seed=1).model
    tokens = vocabulary.encode(_text(num_cold + 1, sizes.vocab_size).decode())
    ours = [
        Task("evaluate/stateful", lambda: evaluate_stateful(model, tokens[: sizes.stateful_chars + 1]).num_chars),
        Task("evaluate/windows", lambda: evaluate_windows(model, tokens).num_chars),
        Task("evaluate/streams", lambda: evaluate_batched(model, tokens)[0].num_chars),
    ]
    peer = BaselineLSTM(sizes.vocab_size, shape.hidden_size, shape.num_layers)
    ids = torch.from_numpy(tokens.astype(np.int64))

    def work() -> float:
        evaluate_peer(peer, ids, sizes.windows, _COLD_WINDOW, at_once=64)
        return num_cold

    beside = Task(f"nn.LSTM, {sizes.windows} random cold windows", work)
    rates = meter.take_turns([*ours, beside], warm_up=1)
    for task in ours:
        yield compare(task.name, _SPEED, rates[task.name], (beside.name, rates[beside.name]))


def _prepare(meter: Meter, sizes: Sizes) -> Findings:
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path, naive = Path(folder, "text.txt"), Path(folder, "naive.txt")
        path.write_bytes(_text(sizes.prepare_bytes, sizes.vocab_size))
        naive.write_bytes(_text(sizes.prepare_naive_bytes, sizes.vocab_size))

        def ours() -> float:
            open_corpus(str(path)).split(ModelConfig(), TrainConfig())
            return sizes.prepare_bytes / 1e6

        def theirs() -> float:
            return len(prepare_for_peer(naive.read_text(encoding="utf-8"))) / 1e6

        def change() -> None:  # another text every time: what was prepared before may be kept somewhere
            with path.open("r+b") as file:
                file.write(_text(64, sizes.vocab_size, seed=None))

        beside = Task("read, sorted(set()), [stoi[c] for c in text]", theirs)
        rates = meter.take_turns([Task("prepare", ours, change), beside], warm_up=1)
    yield compare("prepare", "MB/s", rates["prepare"], (beside.name, rates[beside.name]))


@contextmanager
def _split(sizes: Sizes, shape: Shape) -> Iterator[Split]:
    """Return a text to learn from whose training part is full windows, up to its end and over again."""
    step = shape.batch_size * shape.seq_len
    num_train = max(1, round(sizes.text_chars / step)) * step + 1
    total = num_train + _VALIDATION_CHARS
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder, "text.txt")
        path.write_bytes(_text(total, sizes.vocab_size))
        settings = TrainConfig(
            batch_size=shape.batch_size, seq_len=shape.seq_len, val_fraction=_VALIDATION_CHARS / total
        )
        split = open_corpus(str(path)).split(shape.model, settings)
        assert len(split.train) == num_train, (len(split.train), num_train)
        yield split


def _text(num_chars: int, vocab_size: int, seed: int | None = 1) -> bytes:
    """Return a text of drawn letters: time depends on how many there are and how many kinds, not on what they say."""
    letters = np.frombuffer(_CHARACTERS[:vocab_size].encode(), dtype=np.uint8)
    drawn = letters[np.random.default_rng(seed).integers(0, vocab_size, num_chars)]
    drawn[-vocab_size:] = letters[: len(drawn)]  # every letter, at a place that is not changed
    return drawn.tobytes()


SUITES: dict[Suite, Callable[[Meter, Sizes], Findings]] = {
    "train": _train,
    "generate": _generate,
    "evaluate": _evaluate,
    "prepare": _prepare,
    "startup": lambda meter, sizes: timing.measure_startup(
        meter, sizes.bundled_model, _text(sizes.text_chars, sizes.vocab_size).decode()
    ),
    "gpu": lambda meter, sizes: gpu.measure(
        meter, sizes.gpu, _text(sizes.text_chars, sizes.vocab_size).decode(), find_gpu()
    ),
}
