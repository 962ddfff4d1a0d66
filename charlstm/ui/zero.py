"""The GPU of a ZeroGPU Space, which is lent for a call of at most a minute: a run goes on there in bursts.

The platform wants one decorated function, made before the page is served. Elsewhere nothing of this is there.
"""

import functools
import sys
from typing import Any

import gradio as gr

from charlstm.errors import CharLSTMError, RunError
from charlstm.runs.manager import RunManager
from charlstm.runs.ownership import require_steering
from charlstm.runs.worker import work
from charlstm.training.bursts import BurstTrainer, Lend, burst
from charlstm.ui.controls import GROWING, PRIVATE, VISITOR
from charlstm.ui.views import plain, sentence

_CALL_SECONDS = 60
_RESTING = ("stopped", "interrupted", "failed")


def lent_gpu() -> Lend | None:
    """`burst` as the platform runs it, or `None` where there is no platform to lend a GPU."""
    spaces: Any = sys.modules.get("spaces")  # imported first of all, where it is there
    return spaces.GPU(duration=_CALL_SECONDS)(burst) if spaces else None


def train_on_gpu(manager: RunManager, name: str | None, lend: Lend, visitor: str = "") -> str:
    """Continue run `name` in bursts, here and now, and say how it ended; its records are those of any run.

    `visitor` is the token of whoever asks, see `ownership`.
    """
    if not name:
        raise RunError("no run is shown; choose one first.")
    folder = manager.store.get(str(name))
    require_steering(folder, visitor, is_space_owner=False)
    try:
        finished = work(folder, make_trainer=functools.partial(BurstTrainer, lend=lend))
    except gr.Error as error:  # what the platform raises: no GPU free, or a visitor's share of it used up
        raise RunError(f"the GPU can't be had now ({error.message}); try again later, or resume on the CPU.") from None
    return f"{name} {finished.reason} at step {finished.step:,}."


def build_gpu_tab(manager: RunManager, lend: Lend) -> None:
    """A tab where a run that rests is continued on the lent GPU; it goes on while the page is open."""
    with gr.Tab("GPU", id="gpu") as tab:
        run = gr.Dropdown(label="Run to continue", choices=[], **GROWING)
        button = gr.Button("Continue on the GPU", variant="primary")
        said = gr.HTML(elem_classes="facts", elem_id="gpu-said")
        visitor = gr.Textbox(visible=False)  # filled in when the button is pressed

    def resting() -> Any:
        names = [each.name for each in manager.runs() if each.status in _RESTING]
        return gr.update(choices=names, value=next(iter(names), None))

    def act(name: str | None, token: str) -> str:
        try:
            return plain(train_on_gpu(manager, name, lend, str(token)))
        except CharLSTMError as error:
            return plain(sentence(error))

    tab.select(resting, None, run, queue=False, **PRIVATE)
    button.click(act, [run, visitor], said, js=VISITOR, concurrency_limit=1, **PRIVATE)
