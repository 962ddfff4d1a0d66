"""A small page behind the app's server, in a process of its own: prints its address, then the value of each line."""

import json
import sys
import threading
from collections.abc import Iterator
from typing import Any

import gradio as gr
from gradio.events import api

from charlstm.ui import event_queue, request_body, unqueued_call_limits, uploaded_files
from charlstm.ui.gradio_patches import use_server
from charlstm.ui.server import start_server

MARK = "what somebody sent "
LARGE = 100_000  # characters of an answer


def main() -> None:
    """Serve until nobody asks any more."""
    use_server(start_server)
    goes_on = threading.Event()
    with gr.Blocks(analytics_enabled=False) as page:
        box = gr.Textbox()

        def score(text: str, times: int = 1) -> int:
            return len(text) * times

        def wait(name: str) -> str:
            goes_on.wait(60)
            return name

        def write(number: int) -> Iterator[str]:
            for _ in range(number):
                yield MARK * (LARGE // len(MARK))

        for function in (score, wait, write):
            api(function, api_name=function.__name__)
        api(wait, api_name="wait_together", concurrency_limit=8, concurrency_id="together")
        box.submit(lambda text: text, box, box, api_visibility="private", api_name="echo")
        number = gr.Slider(0, 9)
        number.release(lambda given: given, number, number, queue=False, api_visibility="private", api_name="past_it")
        gr.HTML("", server_functions=[wait], elem_id="asked")
    page.queue(max_size=event_queue.MOST_WAITING, api_open=False)
    _, url, _ = page.launch(quiet=True, prevent_thread_lock=True, _frontend=False, ssr_mode=False)
    known: dict[str, Any] = {
        "goes_on": goes_on,
        "queue": page._queue,
        "unread": page._queue.pending_messages_per_session,
        "sessions": page.state_holder.session_data,  # type: ignore[attr-defined]
        "bounds": event_queue,
        "uploads": uploaded_files,
        "direct": unqueued_call_limits,
        "bodies": request_body,
        "page": page,
    }
    _tell(url)
    for line in sys.stdin:
        _tell(eval(line, known))
    page.close(verbose=False)


def _tell(value: Any) -> None:
    sys.stdout.write(f"{json.dumps(value)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
