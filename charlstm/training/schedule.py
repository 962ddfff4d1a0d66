"""Pure functions for a run's progress, validation interval, learning-rate schedule, and what to say if it diverges."""

import math

from charlstm.config import TrainConfig


def num_planned_steps(config: TrainConfig, windows_per_pass: int) -> int | None:
    """Return the number of updates in the run, or `None` if only time limits it."""
    limits = []
    if config.max_steps:
        limits.append(config.max_steps)
    if config.max_passes:
        # 0.07 passes of 100 windows are 7 steps, though 0.07 * 100 is 7.000000000000001 in floating point.
        limits.append(max(1, math.ceil(round(config.max_passes * windows_per_pass, 6))))
    return min(limits, default=None)


def eval_period(config: TrainConfig, num_val_chars: int) -> int:
    """Return the number of steps between two validations of `num_val_chars` characters.

    By default a run spends about a twentieth of its time on validation: reading a character takes a third of the work
    of training on it, so 20 / 3 characters are trained on for each one validated. The interval is counted in steps, not
    seconds, so that a repeated run records the same losses.
    """
    num_chars = config.batch_size * config.seq_len
    return config.eval_every or max(1, math.ceil(20 / 3 * num_val_chars / num_chars))


def fraction_done(config: TrainConfig, num_steps: int | None, step: int, elapsed_seconds: float) -> float:
    """Return the fraction of the planned run that is done, 0 to 1, by the limit that is closest."""
    by_steps = step / num_steps if num_steps else 0.0
    by_time = elapsed_seconds / (60 * config.max_minutes) if config.max_minutes else 0.0
    return min(1.0, max(by_steps, by_time))


def learning_rate(config: TrainConfig, step: int, fraction: float) -> float:
    """Return the learning rate for the update after `step` completed ones.

    Linear warm-up over `warmup_steps`, times a constant, or a linear or half-cosine decay from 1 to 0 at `fraction` 1.
    A run limited by minutes follows the clock, so its schedule ends when its time does, on any machine.
    """
    warmup = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    decay = {"constant": 1.0, "linear": 1.0 - fraction, "cosine": 0.5 * (1 + math.cos(math.pi * fraction))}
    return config.learning_rate * warmup * decay[config.lr_schedule]


def divergence_message(config: TrainConfig, step: int) -> str:
    """Return the sentence on a run that diverged at `step` for the second time."""
    longest = config.max_grad_norm
    remedy = f"lower max_grad_norm (now {longest:g})" if longest else "set max_grad_norm to 1"
    return (
        f"the loss is no longer a number at step {step:,}, at half the learning rate too: lower learning_rate "
        f"(now {config.learning_rate:g}) or {remedy}, and train again."
    )
