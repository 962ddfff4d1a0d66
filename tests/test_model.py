"""The network against independent arithmetic: a loop over gates written here, and PyTorch's own modules.

Shapes: B = batch, T = time, V = vocabulary size, L = layers, H = hidden size.
"""

import pytest
import torch
from networks import VOCAB_SIZE, some_state, some_tokens
from torch import Tensor, nn
from torch.nn import functional

from charlstm.config import ModelConfig
from charlstm.model import CharLSTM, State, evaluating

ONE_LAYER = ModelConfig(hidden_size=5)
TWO_LAYERS = ModelConfig(hidden_size=5, num_layers=2)
EMBEDDED = ModelConfig(hidden_size=4, num_layers=3, embedding_dim=6)
NETWORKS = pytest.mark.parametrize(
    "config", [ONE_LAYER, TWO_LAYERS, EMBEDDED], ids=["one-hot", "one-hot, 2 layers", "embedding, 3 layers"]
)


def make(config: ModelConfig, seed: int = 0, dtype: torch.dtype = torch.float64) -> CharLSTM:
    torch.manual_seed(seed)
    return CharLSTM(VOCAB_SIZE, config).to(dtype)


def naive(weights: dict[str, Tensor], config: ModelConfig, tokens: Tensor, state: State) -> tuple[Tensor, State]:
    """The textbook LSTM, one sequence, one layer, one gate at a time; gates stand in the order i, f, g, o."""
    size = config.hidden_size
    logits, last_h, last_c = [], [], []
    for row, sequence in enumerate(tokens.tolist()):
        h = [state[0][layer, row] for layer in range(config.num_layers)]
        c = [state[1][layer, row] for layer in range(config.num_layers)]
        row_logits = []
        for token in sequence:
            if config.embedding_dim:
                below = weights["embedding.weight"][token]
            else:
                below = torch.zeros(VOCAB_SIZE, dtype=torch.float64)
                below[token] = 1.0
            for layer in range(config.num_layers):
                pre = {}
                for place, gate in enumerate("ifgo"):
                    rows = slice(place * size, (place + 1) * size)
                    from_below = weights[f"lstm.weight_ih_l{layer}"][rows] @ below
                    from_before = weights[f"lstm.weight_hh_l{layer}"][rows] @ h[layer]
                    biases = weights[f"lstm.bias_ih_l{layer}"][rows] + weights[f"lstm.bias_hh_l{layer}"][rows]
                    pre[gate] = from_below + from_before + biases
                kept = pre["f"].sigmoid() * c[layer]
                c[layer] = kept + pre["i"].sigmoid() * pre["g"].tanh()
                h[layer] = pre["o"].sigmoid() * c[layer].tanh()
                below = h[layer]
            row_logits.append(weights["head.weight"] @ below + weights["head.bias"])
        logits.append(torch.stack(row_logits))
        last_h.append(torch.stack(h))
        last_c.append(torch.stack(c))
    return torch.stack(logits), (torch.stack(last_h, dim=1), torch.stack(last_c, dim=1))


def weights_of(model: CharLSTM) -> dict[str, Tensor]:
    return {name: parameter.detach().clone().requires_grad_() for name, parameter in model.named_parameters()}


@NETWORKS
def test_forward_equals_a_naive_loop_over_gates(config: ModelConfig) -> None:
    model, tokens, state = make(config), some_tokens(), some_state(config)
    logits, (h, c) = model(tokens, state)
    expected, (expected_h, expected_c) = naive(weights_of(model), config, tokens, state)
    torch.testing.assert_close(logits, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(h, expected_h, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(c, expected_c, rtol=1e-12, atol=1e-12)


@NETWORKS
def test_every_gradient_equals_the_naive_loops(config: ModelConfig) -> None:
    model, tokens, state = make(config), some_tokens(), some_state(config)
    targets = some_tokens(3, 7)[:, 1:]
    logits, _ = model(tokens, state)
    functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()

    weights = weights_of(model)
    naive_logits, _ = naive(weights, config, tokens, state)
    log_p = naive_logits - naive_logits.exp().sum(dim=-1, keepdim=True).log()
    (-log_p.gather(-1, targets[..., None]).mean()).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, weights[name].grad, rtol=1e-9, atol=1e-12, msg=name)
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0, name


@NETWORKS
def test_no_state_means_zeros(config: ModelConfig) -> None:
    model, tokens = make(config), some_tokens()
    zeros = torch.zeros(config.num_layers, 3, config.hidden_size, dtype=torch.float64)
    expected, _ = naive(weights_of(model), config, tokens, (zeros, zeros))
    torch.testing.assert_close(model(tokens)[0], expected, rtol=1e-12, atol=1e-12)


@NETWORKS
def test_equals_a_plain_pytorch_lstm_and_linear_with_the_same_weights(config: ModelConfig) -> None:
    model, tokens, state = make(config), some_tokens(), some_state(config)
    size = config.embedding_dim or VOCAB_SIZE
    lstm = nn.LSTM(size, config.hidden_size, config.num_layers, batch_first=True, dtype=torch.float64)
    linear = nn.Linear(config.hidden_size, VOCAB_SIZE, dtype=torch.float64)
    lstm.load_state_dict(model.lstm.state_dict())
    linear.load_state_dict(model.head.state_dict())
    table = torch.eye(VOCAB_SIZE, dtype=torch.float64) if model.embedding is None else model.embedding.weight
    hidden, (h, c) = lstm(table[tokens], state)
    logits, (model_h, model_c) = model(tokens, state)
    torch.testing.assert_close(logits, linear(hidden))
    torch.testing.assert_close(model_h, h)
    torch.testing.assert_close(model_c, c)


@NETWORKS
def test_steps_with_a_carried_state_equal_one_forward(config: ModelConfig) -> None:
    model, tokens, state = make(config).eval(), some_tokens(3, 9), some_state(config)
    expected, (expected_h, expected_c) = model(tokens, state)
    for place in range(tokens.shape[1]):
        logits, state = model.step(tokens[:, place], state)
        assert logits.shape == (3, VOCAB_SIZE)
        torch.testing.assert_close(logits, expected[:, place], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state[0], expected_h, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state[1], expected_c, rtol=1e-12, atol=1e-12)


@NETWORKS
def test_a_text_read_in_two_windows_equals_it_read_at_once(config: ModelConfig) -> None:
    model, tokens = make(config), some_tokens(2, 11)
    whole, _ = model(tokens)
    begin, state = model(tokens[:, :4])
    end, _ = model(tokens[:, 4:], state)
    torch.testing.assert_close(torch.cat((begin, end), dim=1), whole, rtol=1e-12, atol=1e-12)
    cold, _ = model(tokens[:, 4:])
    assert not torch.allclose(end, cold), "the state makes no difference, so this test would not see it lost"


def test_step_equals_forward_in_single_precision_too() -> None:
    config = ModelConfig(hidden_size=40, num_layers=2)
    model, tokens = make(config, dtype=torch.float32).eval(), some_tokens(1, 50)
    expected, _ = model(tokens)
    state = model.initial_state(1)
    for place in range(50):
        logits, state = model.step(tokens[:, place], state)
        torch.testing.assert_close(logits, expected[:, place], rtol=1e-5, atol=1e-5)


@NETWORKS
@pytest.mark.parametrize("forget_bias", [1.0, 2.5])
def test_the_forget_bias_is_exact_and_the_other_biases_keep_their_draw(config: ModelConfig, forget_bias: float) -> None:
    model = make(config.model_copy(update={"forget_bias": forget_bias}), seed=3, dtype=torch.float32)
    untouched = make(config.model_copy(update={"forget_bias": 0.0}), seed=3, dtype=torch.float32)
    size = config.hidden_size
    forget = torch.zeros(4 * size, dtype=torch.bool)
    forget[size : 2 * size] = True
    for (_, _, bias_ih, bias_hh), (_, _, drawn_ih, drawn_hh) in zip(
        model.lstm.all_weights, untouched.lstm.all_weights, strict=True
    ):
        assert (bias_ih + bias_hh)[forget].tolist() == [forget_bias] * size
        assert torch.equal(bias_ih[~forget], drawn_ih[~forget])
        assert torch.equal(bias_hh[~forget], drawn_hh[~forget])


@NETWORKS
def test_orthogonal_recurrent_weights_keep_every_length_and_nothing_else_is_drawn_anew(config: ModelConfig) -> None:
    model = make(config.model_copy(update={"recurrent_init": "orthogonal"}), seed=3, dtype=torch.float32)
    drawn = dict(make(config.model_copy(update={"recurrent_init": "uniform"}), seed=3).float().named_parameters())
    for _, weight_hh, _, _ in model.lstm.all_weights:
        gates = weight_hh.detach().chunk(4)
        for gate in gates:
            torch.testing.assert_close(gate @ gate.t(), torch.eye(config.hidden_size), rtol=0.0, atol=1e-5)
        assert not torch.allclose(gates[0], gates[1]), "two gates are alike"
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, drawn[name]) == ("weight_hh" not in name), name


@NETWORKS
def test_without_forget_bias_and_uniform_the_draw_is_pytorchs_own(config: ModelConfig) -> None:
    settings = config.model_copy(update={"forget_bias": 0.0, "recurrent_init": "uniform"})
    model = make(settings, seed=4, dtype=torch.float32)
    torch.manual_seed(4)
    embedding = nn.Embedding(VOCAB_SIZE, config.embedding_dim) if config.embedding_dim else None
    lstm = nn.LSTM(config.embedding_dim or VOCAB_SIZE, config.hidden_size, config.num_layers, batch_first=True)
    linear = nn.Linear(config.hidden_size, VOCAB_SIZE)
    plain = [*([embedding.weight] if embedding else []), *lstm.parameters(), *linear.parameters()]
    for (name, parameter), expected in zip(model.named_parameters(), plain, strict=True):
        assert torch.equal(parameter, expected), name


@NETWORKS
def test_the_input_scale_multiplies_the_first_layers_input_weights_and_nothing_else(config: ModelConfig) -> None:
    model = make(config.model_copy(update={"input_scale": 4.0}), seed=3)
    drawn = dict(make(config, seed=3).named_parameters())
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, drawn[name] * (4 if name == "lstm.weight_ih_l0" else 1)), name


def test_evaluation_mode_drops_nothing() -> None:
    config = ModelConfig(hidden_size=5, num_layers=2, dropout=0.9)
    model, tokens, state = make(config).eval(), some_tokens(), some_state(config)
    expected, _ = naive(weights_of(model), config, tokens, state)
    torch.testing.assert_close(model(tokens, state)[0], expected, rtol=1e-12, atol=1e-12)


def test_a_step_drops_nothing_even_in_training_mode() -> None:
    config = ModelConfig(hidden_size=5, num_layers=2, dropout=0.9)
    model, tokens, state = make(config).train(), some_tokens(3, 1), some_state(config)
    expected, _ = naive(weights_of(model), config, tokens, state)
    torch.testing.assert_close(model.step(tokens[:, 0], state)[0], expected[:, 0], rtol=1e-12, atol=1e-12)


@NETWORKS
def test_states_have_layers_first_and_start_at_zero_in_the_weights_type(config: ModelConfig) -> None:
    model = make(config)
    shape = (config.num_layers, 3, config.hidden_size)
    for tensor in model.initial_state(3):
        assert tensor.shape == shape
        assert tensor.dtype == torch.float64
        assert not tensor.any()
    logits, state = model(some_tokens(3, 6))
    assert logits.shape == (3, 6, VOCAB_SIZE)
    assert [tuple(tensor.shape) for tensor in state] == [shape, shape]


def test_the_two_initial_tensors_share_no_memory() -> None:
    h, c = make(ONE_LAYER).initial_state(1)
    h.fill_(1.0)
    assert not c.any()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (ModelConfig(hidden_size=5), 4 * 5 * (7 + 5 + 2) + 7 * 5 + 7),
        (ModelConfig(hidden_size=5, num_layers=2), 4 * 5 * (7 + 5 + 2) + 4 * 5 * (5 + 5 + 2) + 7 * 5 + 7),
        (ModelConfig(hidden_size=5, embedding_dim=3), 7 * 3 + 4 * 5 * (3 + 5 + 2) + 7 * 5 + 7),
    ],
)
def test_parameters_are_counted(config: ModelConfig, expected: int) -> None:
    assert make(config).num_parameters == expected


@pytest.mark.parametrize("is_training", [True, False])
def test_evaluating_switches_to_evaluation_without_gradients_and_back(is_training: bool) -> None:
    model = make(ModelConfig(hidden_size=5, dropout=0.5)).train(is_training)
    with evaluating(model):
        assert not model.training
        assert not model.lstm.training
        logits, _ = model(some_tokens())
        assert not logits.requires_grad
    assert model.training == model.lstm.training == is_training
    assert not torch.is_inference_mode_enabled()
    assert model(some_tokens())[0].requires_grad


@pytest.mark.parametrize("is_training", [True, False])
def test_evaluating_restores_the_mode_after_an_error(is_training: bool) -> None:
    model = make(ONE_LAYER).train(is_training)
    with pytest.raises(ZeroDivisionError), evaluating(model):
        _ = 1 / 0
    assert model.training == is_training
    assert not torch.is_inference_mode_enabled()
