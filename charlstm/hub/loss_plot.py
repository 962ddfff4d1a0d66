"""The loss plot of a run, as a PNG for the model card, drawn with Pillow (which Gradio brings)."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from charlstm.runs.points import Curve

_SIZE = (960, 480)
_LEFT, _TOP, _RIGHT, _BOTTOM = 70, 40, 930, 430  # of the plot inside the picture, in pixels
_FINER = 2  # drawn larger and made smaller, so that lines are smooth
_INK, _FAINT, _PAPER = "#2b2622", "#e2dbd2", "#ffffff"
_COLORS = {"training, smoothed": "#b4532a", "validation": "#2f7f9f"}  # as on the page
_CURVES = {"training, smoothed": "smoothed", "validation": "validation"}
MAX_POINTS = 500  # worth asking a history for


class _Frame(NamedTuple):
    """The part of the plane that is drawn."""

    last_step: float
    low: float
    high: float

    def place(self, step: float, loss: float) -> tuple[float, float]:
        """Return the place in pixels of the finer picture."""
        x = _LEFT + (_RIGHT - _LEFT) * step / self.last_step
        y = _TOP + (_BOTTOM - _TOP) * (self.high - min(loss, self.high)) / (self.high - self.low)
        return x * _FINER, y * _FINER


def loss_plot_png(series: Mapping[str, Curve]) -> bytes | None:
    """Draw both losses of a run, as `RunHistory.series` gives them, in nats per character over the steps.

    Returns `None` for a run of fewer than two points.
    """
    curves = {label: list(zip(series[name].steps, series[name].values, strict=True)) for label, name in _CURVES.items()}
    points = [point for each in curves.values() for point in each]
    if len(curves["training, smoothed"]) < 2 or not any(step for step, _ in points):
        return None
    losses = [loss for _, loss in points]
    low = math.floor(min(losses) * 10) / 10
    frame = _Frame(max(step for step, _ in points), low, max(math.ceil(max(losses) * 10) / 10, low + 0.1))
    picture = Image.new("RGB", (_SIZE[0] * _FINER, _SIZE[1] * _FINER), _PAPER)
    draw = ImageDraw.Draw(picture)
    _grid(draw, frame)
    for name, curve in curves.items():
        if curve:
            places = [frame.place(*point) for point in curve]
            draw.line(places if len(places) > 1 else places * 2, fill=_COLORS[name], width=3 * _FINER, joint="curve")
    _legend(draw, [name for name in curves if curves[name]])
    buffer = io.BytesIO()
    picture.resize(_SIZE, Image.Resampling.LANCZOS).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _grid(draw: ImageDraw.ImageDraw, frame: _Frame) -> None:
    font = ImageFont.load_default(15 * _FINER)
    for loss in _round_numbers(frame.low, frame.high):
        left, right = frame.place(0, loss), frame.place(frame.last_step, loss)
        draw.line((left, right), fill=_FAINT, width=_FINER)
        draw.text((left[0] - 10 * _FINER, left[1]), f"{loss:g}", fill=_INK, font=font, anchor="rm")
    for step in _round_numbers(0, frame.last_step):
        x, y = frame.place(step, frame.low)
        draw.text((x, y + 8 * _FINER), f"{step:,.0f}", fill=_INK, font=font, anchor="mt")
    x, y = frame.place(frame.last_step, frame.low)
    draw.text((x, y + 28 * _FINER), "step", fill=_INK, font=font, anchor="rt")


def _round_numbers(low: float, high: float) -> list[float]:
    """Choose about five round numbers from `low` to `high`."""
    wanted = (high - low) / 5
    power = 10 ** math.floor(math.log10(wanted))
    distance = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= wanted)
    first = math.ceil(low / distance - 1e-9)
    return [round(number * distance, 10) for number in range(first, math.floor(high / distance + 1e-9) + 1)]


def _legend(draw: ImageDraw.ImageDraw, names: Sequence[str]) -> None:
    font, x = ImageFont.load_default(16 * _FINER), float(_LEFT * _FINER)
    middle = 20 * _FINER
    for name in names:
        draw.line(((x, middle), (x + 30 * _FINER, middle)), fill=_COLORS[name], width=4 * _FINER)
        x += 38 * _FINER
        draw.text((x, middle), name, fill=_INK, font=font, anchor="lm")
        x += draw.textlength(name, font=font) + 30 * _FINER
    draw.text((_RIGHT * _FINER, middle), "nats per character, lower is better", fill=_INK, font=font, anchor="rm")
