"""Client of the Hub: tokens, hosts they may travel to, time limits, retries, commits.

`huggingface_hub` waits without end where it is not told otherwise, sleeps as long as a server asks it to, and takes
whatever login it finds. Inside `hub_call` it does none of that, and a failure is a `HubError` of one sentence.
"""

import contextlib
import functools
import io
import logging
import queue
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, get_token, set_client_factory
from huggingface_hub._commit_api import _fetch_upload_modes
from huggingface_hub.utils import _http
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from charlstm.environment import is_public, is_space
from charlstm.errors import HubError
from charlstm.hub.error_messages import describe, describe_portal, describe_wait, httpx, is_hub_address, retry_seconds

# Xet, its other way for large files, knows neither our time limit nor where a login may travel; the Hub serves both.
constants.HF_HUB_DISABLE_XET = True
constants.DOWNLOAD_CHUNK_SIZE = 1 << 16  # bytes between two looks at a download; of its 10 MB most models are not one
_TIMEOUT_SECONDS = 30.0
_PATIENCE_SECONDS = 5  # a longer Retry-After is told instead of slept through
_MOST_TRIES_AGAIN = 2  # of one request to a server that is busy, after 1 and 2 seconds if it does not say
_BUSY = (408, 429, 500, 502, 503, 504)
_CHECK_OF_CARDS = "/api/validate-yaml"  # whose answer the library reads as JSON before it looks at the status
_HEARTBEAT_SECONDS = 1.0
_T = TypeVar("_T")


@dataclass(frozen=True)
class Progress:
    """Progress of an exchange with the Hub."""

    words: str
    num_bytes: int = 0
    total_bytes: int = 0


OnProgress = Callable[[Progress], None]


class _Exchange:
    """State of the calls inside one `hub_call`."""

    def __init__(self, report: OnProgress) -> None:
        self.report = report
        self._busy: Counter[tuple[str, str]] = Counter()

    def count(self, request: Any) -> int:
        """Count how often the server was busy for such a request."""
        key = (request.method, str(request.url).partition("?")[0])
        self._busy[key] += 1
        return self._busy[key]


_tending = threading.Lock()
_exchange: ContextVar[_Exchange | None] = ContextVar("charlstm_hub_exchange", default=None)


def hub_address() -> str:
    """Return the address of the Hub (HF_ENDPOINT)."""
    return constants.ENDPOINT


def write_token(visitor: str | None = None) -> str:
    """Return the token that may write: on a Space the visitor's and nothing else, elsewhere that of the machine.

    Where strangers come to a machine that is no Space nobody's may: there, what Gradio calls the visitor's login is the
    machine's own.
    Raises `HubError` where there is none.
    """
    if is_public():
        if not is_space():
            raise HubError(
                "this machine's login acts for no visitor (CHARLSTM_PUBLIC is 1); publish from a terminal without "
                "that variable."
            )
        if not visitor:
            raise HubError("nobody is signed in; press Sign in with Hugging Face, then try again.")
        return _validate_token(visitor)
    if token := get_token():
        return _validate_token(token)
    raise HubError("this machine is not logged in to the Hub; run `hf auth login` in a terminal, then try again.")


def read_token() -> str | bool:
    """Return the token for reading: that of the machine if it has one; among strangers none.

    What is read there is for all visitors to see, so nobody's login may fetch it.
    """
    token = None if is_public() else get_token()
    return _validate_token(token) if token else False


def account_name(token: str) -> str:
    """Ask the Hub whose `token` is; raises `HubError`."""
    with hub_call("your login"):
        return str(HfApi(constants.ENDPOINT, token=token, library_name="charlstm").whoami()["name"])


def _validate_token(token: str) -> str:
    """Return `token` if it can be sent as one; raise `HubError`."""
    if token.isascii() and token.isprintable() and " " not in token:
        return token
    raise HubError(
        "the login of this machine is not a token (tokens begin with hf_); run `hf auth login` and try again."
    )


@contextlib.contextmanager
def hub_call(subject: str, report: OnProgress | None = None) -> Iterator[None]:
    """Bound calls of `huggingface_hub` about `subject` (a repository) inside the block, and translate their errors.

    Raises `HubError` for whatever they raise.
    """
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its warnings hold addresses; `report` says more
    _tend()
    warnings.filterwarnings("ignore", "Warnings while validating metadata")  # they name a path of this machine
    before, had_bars = _exchange.set(_Exchange(report or _silent)), not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, httpx.HTTPError) as error:
        # the last few are what the library makes of an answer that is none of the Hub's
        raise describe(error, subject) from error
    finally:
        _exchange.reset(before)
        if had_bars:
            enable_progress_bars()


def _silent(_: Progress) -> None:
    """Ignore progress."""


@dataclass(frozen=True)
class _Tended:
    """Makes the client that all calls share, with our looks at what passes through it."""

    make: Callable[[], Any]

    def __call__(self) -> Any:
        session = self.make()
        session.send = functools.partial(_send_patiently, session.send)
        hooks = session.event_hooks
        hooks["request"].append(_before_request)
        hooks["response"].append(_after_response)
        session.event_hooks = hooks
        return session


def _tend() -> None:
    """See to every client, also one that the library makes anew because a connection failed."""
    with _tending:
        make = _http._GLOBAL_CLIENT_FACTORY  # so that what the user may have set stays
        if not isinstance(make, _Tended):
            set_client_factory(_Tended(make))


def _before_request(request: Any) -> None:
    """Set time limits, and keep the token from every host but the Hub, whatever a redirect or an answer says."""
    if _exchange.get() is None:
        return
    given = request.extensions.get("timeout") or {}
    waits = {kind: given.get(kind) or _TIMEOUT_SECONDS for kind in ("connect", "read", "write", "pool")}
    request.extensions = {**request.extensions, "timeout": waits}
    if not is_hub_address(request.url):
        request.headers.pop("authorization", None)


def _after_response(response: Any) -> None:
    """Refuse what is none of the Hub's: a web page, and a redirect that would take what is sent to another host."""
    if _exchange.get() is None:
        return
    if response.is_success and "text/html" in str(response.headers.get("content-type") or "").lower():
        raise describe_portal()
    if response.has_redirect_location and response.request.method not in ("GET", "HEAD"):
        target = response.request.url.join(response.headers["location"])
        is_same = (target.scheme, target.netloc) == (response.request.url.scheme, response.request.url.netloc)
        if response.request.method == "PUT" or not is_same:
            raise HubError(
                "what was to be sent was referred to another host, and so was not sent; does this network want a "
                "sign-in first? Open a browser and see, then try again."
            )


def _send_patiently(send: Callable[..., Any], request: Any, **options: Any) -> Any:
    """Send `request`, again where the server is busy: a few times at most, and not after longer than it is worth.

    A body that can be read only once is sent again by the library, which knows where it began.
    """
    exchange = _exchange.get()
    if exchange is None:
        return send(request, **options)
    while True:
        response = send(request, **options)
        if not _is_busy(response):
            if response.is_error and request.url.path == _CHECK_OF_CARDS:
                _http.hf_raise_for_status(response)
            return response
        if (seconds := retry_seconds(response.headers)) > _PATIENCE_SECONDS:
            response.close()
            raise HubError(describe_wait(seconds))
        tries = exchange.count(request)
        if tries > _MOST_TRIES_AGAIN:
            _http.hf_raise_for_status(response)
        server = "the Hub" if is_hub_address(request.url) else "the Hub's storage"
        exchange.report(Progress(f"{server} is busy (it answers {response.status_code}); trying again"))
        if _is_stream(request):
            return response
        response.close()
        time.sleep(max(seconds, 2 ** (tries - 1)))


def _is_busy(response: Any) -> bool:
    """Return whether the server is busy, also where two repositories of an account are made at once."""
    if response.status_code == 409 and response.request.url.path == "/api/repos/create":
        return "conflicting operation" in response.text
    return response.status_code in _BUSY


def _is_stream(request: Any) -> bool:
    try:
        request.content  # noqa: B018
    except httpx.RequestNotRead:
        return True
    return False


class BackgroundCall(Generic[_T]):
    """Runs `work` in a thread of its own and tells how far it is, at least once a second: iterate, then read `result`.

    What `work` raises is raised by the iteration. Whoever leaves early leaves the work to its end.
    """

    result: _T

    def __init__(self, work: Callable[[OnProgress], _T]) -> None:
        self._steps: queue.SimpleQueue[Progress | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._work = work

    def _run(self) -> None:
        try:
            self.result = self._work(self._steps.put)
        except BaseException as error:  # noqa: BLE001  raised again where somebody waits for it
            self._error = error
        self._steps.put(None)

    def __iter__(self) -> Generator[Progress, None, None]:
        threading.Thread(target=self._run, daemon=True).start()
        latest, waited = Progress("asking the Hub"), 0.0
        while True:
            try:
                step = self._steps.get(timeout=_HEARTBEAT_SECONDS)
            except queue.Empty:
                waited += _HEARTBEAT_SECONDS
                yield replace(latest, words=f"{latest.words} ({waited:.0f} s)")
                continue
            if step is None:
                break
            latest, waited = step, 0.0
            yield step
        if self._error is not None:
            raise self._error


_REPORT_BYTES = 1 << 18  # between two reports


def commit_files(
    api: HfApi,
    where: Mapping[str, str | None],
    files: Mapping[str, bytes],
    message: str,
    report: OnProgress,
    removed: Iterable[str] = (),
) -> str:
    """Commit `files`, and the removal of `removed`, to the repository that `where` names; return the commit's URL.

    `where` holds `repo_id`, and `repo_type` and `revision` where they are not the usual ones.
    """
    readers = {name: _ReportedReader(name, data, report) for name, data in files.items()}
    additions = [CommitOperationAdd(name, reader) for name, reader in readers.items()]
    report(Progress(f"asking the Hub about {len(files)} files"))
    _fetch_upload_modes(
        additions,
        repo_type=where.get("repo_type") or "model",
        repo_id=str(where["repo_id"]),
        headers=api._build_hf_headers(),
        revision=quote(where.get("revision") or "main", safe=""),
        endpoint=api.endpoint,
    )
    for addition in additions:
        if addition._upload_mode == "lfs":  # one after another and in this thread, so that each is told and heeded
            readers[addition.path_in_repo].is_travelling = bool(addition.upload_info.sha256)  # which reads all of it
            api.preupload_lfs_files(**where, additions=[addition], free_memory=False)  # type: ignore[arg-type]
    report(Progress("asking the Hub to put it in place"))
    deletions = [CommitOperationDelete(name) for name in removed]
    commit = api.create_commit(**where, operations=[*additions, *deletions], commit_message=message)  # type: ignore[call-overload]
    total = sum(map(len, files.values()))
    report(Progress("done", total, total))
    return str(commit.commit_url)  # shown as text and, if it is the Hub's, as a link


class _ReportedReader(io.BytesIO):
    """Bytes that tell how many of them have been read, once they are to travel."""

    is_travelling = False

    def __init__(self, name: str, data: bytes, report: OnProgress) -> None:
        super().__init__(data)
        self._name, self._report, self._size = name, report, len(data)
        self._told = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        place = self.tell()
        if self.is_travelling and (abs(place - self._told) >= _REPORT_BYTES or place == self._size):
            self._told = place
            self._report(Progress(f"sending {self._name}", place, self._size))
        return data
