"""The door to the Hub: whose login acts, which host it may travel to, how long to wait, and what a failure means.

`huggingface_hub` waits without end where it is not told otherwise, sleeps as long as a server asks it to, and takes
whatever login it finds. Inside `talking` it does none of that, and whatever goes wrong is a `HubError` of one sentence.
"""

import contextlib
import errno
import logging
import math
import queue
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from importlib import import_module
from typing import Any, Generic, TypeVar

from huggingface_hub import constants, get_token, set_client_factory
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import _http
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from charlstm.errors import HubError
from charlstm.hosting import is_public, is_space
from charlstm.wording import duration

# httpx, or httpx2 since version 2: the library that its errors come from
httpx: Any = import_module(
    next(each.__module__ for each in HfHubHTTPError.__mro__ if each.__module__.startswith("httpx")).partition(".")[0]
)
# Xet, its other way for large files, knows neither our time limit nor where a login may travel; the Hub serves both.
constants.HF_HUB_DISABLE_XET = True
_TIMEOUT_SECONDS = 30.0
_PATIENCE_SECONDS = 5  # a longer Retry-After is told instead of slept through
_HEARTBEAT_SECONDS = 1.0
_DAY_SECONDS = 86400
_REPO_ID = re.compile(r"(?=.{3,96}$)[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Step:
    """How far an exchange with the Hub is."""

    words: str
    num_bytes: int = 0
    total_bytes: int = 0


Report = Callable[[Step], None]
_tending = threading.Lock()
_report: ContextVar[Report | None] = ContextVar("charlstm_hub_report", default=None)


def hub_address() -> str:
    """Where the Hub is (HF_ENDPOINT)."""
    return constants.ENDPOINT


def acting_token(visitor: str | None = None) -> str:
    """The login that may act: on a Space the visitor's and nothing else, elsewhere that of the machine.

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
        return visitor
    if token := get_token():
        return token
    raise HubError("this machine is not logged in to the Hub; run `hf auth login` in a terminal, then try again.")


def reading_token() -> str | bool:
    """The login for reading: that of the machine if it has one; among strangers none, so that they read public models.

    What is read there is for all visitors to see, so nobody's login may fetch it.
    """
    return False if is_public() else (get_token() or False)


def checked_repo(repo_id: str) -> str:
    """`repo_id` if it is a name like `user/model`; raises `HubError`."""
    repo_id = repo_id.strip()
    name = repo_id.rpartition("/")[2]
    if not _REPO_ID.fullmatch(repo_id) or "--" in repo_id or ".." in repo_id or name.endswith((".git", ".", "-")):
        raise HubError(
            f"{repo_id[:100]!r} is no name of a repository; write it as user/name, with letters, digits, single "
            "dashes, dots and underscores."
        )
    return repo_id


@contextlib.contextmanager
def talking(subject: str, report: Report | None = None) -> Iterator[None]:
    """Inside the block calls of `huggingface_hub` about `subject` (a repository) end soon, or are reported.

    Raises `HubError` for whatever they raise.
    """
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its warnings hold addresses; `report` says more
    _tend()
    before, had_bars = _report.set(report or _silent), not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, httpx.HTTPError) as error:
        # the last few are what the library makes of an answer that is none of the Hub's
        raise told(error, subject) from error
    finally:
        _report.reset(before)
        if had_bars:
            enable_progress_bars()


def _silent(_: Step) -> None:
    """For nobody."""


@dataclass(frozen=True)
class _Tended:
    """Makes the client that all calls share, with our two looks at what passes through it."""

    make: Callable[[], Any]

    def __call__(self) -> Any:
        session = self.make()
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
    """No wait without end; and a login travels to the Hub and nowhere else, whatever a redirect or an answer says."""
    if _report.get() is None:
        return
    given = request.extensions.get("timeout") or {}
    waits = {kind: given.get(kind) or _TIMEOUT_SECONDS for kind in ("connect", "read", "write", "pool")}
    request.extensions = {**request.extensions, "timeout": waits}
    if _origin(request.url) != _origin(httpx.URL(constants.ENDPOINT)):
        request.headers.pop("authorization", None)


def _origin(address: Any) -> tuple[Any, ...]:
    return address.scheme, address.host, address.port


def _after_response(response: Any) -> None:
    """Say that the Hub is busy, and do not sleep as long as it likes."""
    report = _report.get()
    if report is None or response.status_code not in (408, 429, 500, 502, 503, 504):
        return
    seconds = _asked_to_wait(response.headers)
    if seconds > _PATIENCE_SECONDS:
        raise HubError(_wait_sentence(seconds))
    report(Step(f"the Hub is busy (it answers {response.status_code}); trying again"))


def _asked_to_wait(headers: Any) -> int:
    """Seconds, of either header that the Hub uses; 0 if it does not say."""
    limit = re.search(r"\br\s*=\s*0\s*;\s*t\s*=\s*(\d{1,9})", str(headers.get("ratelimit") or ""), re.ASCII)
    return max(_seconds(str(headers.get("retry-after") or "").strip()), int(limit[1]) if limit else 0)


def _seconds(given: str) -> int:
    """Of a Retry-After, which is a number or a date."""
    if re.fullmatch(r"\d+", given, re.ASCII):
        return int(given[:9])
    try:
        return max(0, math.ceil(parsedate_to_datetime(given).timestamp() - time.time()))
    except (ValueError, TypeError, OverflowError):
        return 0


def _wait_sentence(seconds: int) -> str:
    wait = "in a few minutes" if not seconds else f"in {duration(seconds)}" if seconds < _DAY_SECONDS else "another day"
    return f"the Hub asks for fewer requests; try again {wait}."


def told(error: BaseException, subject: str) -> HubError:
    """What `error` means for a person, in one sentence that holds no address and no login."""
    for each in _causes(error):
        if isinstance(each, HubError):
            return each
        if sentence := _sentence(each, subject):
            return HubError(sentence)
    return HubError(f"the Hub's answer about {subject} can't be understood ({type(error).__name__}); try again later.")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """From the innermost: what the library wraps is what happened."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    wrappers = [each for each in chain if isinstance(each, RuntimeError | LocalEntryNotFoundError)]
    yield from (each for each in chain if each not in wrappers)
    yield from wrappers


def _sentence(error: BaseException, subject: str) -> str | None:
    if isinstance(error, HfHubHTTPError) and not isinstance(error, RevisionNotFoundError | EntryNotFoundError):
        return _sentence_of_status(error, subject)
    if isinstance(error, OSError) and (sentence := _sentence_of_disk(error)):
        return sentence
    sentences: list[tuple[Any, str]] = [
        (
            OfflineModeIsEnabled,
            f"offline mode (HF_HUB_OFFLINE) is on, and {subject} is not in the cache; switch it off and try again.",
        ),
        (RevisionNotFoundError, f"{subject} has no such revision; check the branch, tag or commit."),
        (
            LocalEntryNotFoundError,
            f"the Hub can't be reached, and {subject} is not in the cache; check the network and try again.",
        ),
        (EntryNotFoundError, f"{subject} does not hold the file that is needed; choose another repository."),
        (
            httpx.TimeoutException,
            f"the Hub has not answered for {_TIMEOUT_SECONDS:.0f} seconds; nothing here is lost, try again later.",
        ),
        (
            (httpx.HTTPError, ConnectionError),
            "the Hub can't be reached, or the connection broke; nothing here is lost, check the network and try again.",
        ),
    ]
    return next((sentence for kind, sentence in sentences if isinstance(error, kind)), None)


def _sentence_of_disk(error: OSError) -> str | None:
    if (
        error.errno in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", None))
        or "enough disk space" in str(error).lower()
    ):
        return "there is no space left for the Hub's cache (HF_HOME); free some up and try again."
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST):
        return "the Hub's cache (HF_HOME) can't be written; name another folder in HF_HOME and try again."
    return None


def _sentence_of_status(error: HfHubHTTPError, subject: str) -> str:
    status = error.response.status_code
    if status == 401 and "credentials" in str(error.response.headers.get("x-error-message", "")).lower():
        status = 498  # as others call it: a login that is there and not valid
    if isinstance(error, GatedRepoError):
        return f"{subject} is open only to whom its owner admits; ask for that on its page on the Hub, or log in."
    if status == 403 and error.response.request.method in ("GET", "HEAD"):
        return f"this login may not read {subject}; use one that may, or choose another repository."
    if isinstance(error, RepositoryNotFoundError) and status != 498:
        return f"there is no {subject} on the Hub that this login may see; check its name, and log in if it is private."
    sentences = {
        400: f"the Hub does not accept what was sent for {subject}; check the name and try again.",
        401: "the Hub asks for a login; log in (`hf auth login`, or Sign in with Hugging Face) and try again.",
        402: f"the Hub wants a paid plan for {subject}; choose other hardware, or upgrade the account.",
        403: f"this login may not write to {subject}; use one that may write, or another name.",
        404: f"there is no {subject} on the Hub that this login may see; check its name.",
        409: f"{subject} was changed by somebody else at this moment; try again.",
        413: f"a file is larger than the Hub takes for {subject}; make it smaller.",
        429: _wait_sentence(_asked_to_wait(error.response.headers)),
        498: "the Hub does not know this login (any more); log in again and try again.",
        507: f"the account has no storage left for {subject}; free some up and try again.",
    }
    fallback = f"the Hub has a problem (it answers {status}); nothing here is lost, try again later."
    return sentences.get(status, fallback)


class Followed(Generic[_T]):
    """Runs `work` in a thread of its own and tells how far it is, at least once a second: iterate, then read `result`.

    What `work` raises is raised by the iteration. Whoever leaves early leaves the work to its end.
    """

    result: _T

    def __init__(self, work: Callable[[Report], _T]) -> None:
        self._steps: queue.SimpleQueue[Step | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._work = work

    def _run(self) -> None:
        try:
            self.result = self._work(self._steps.put)
        except BaseException as error:  # noqa: BLE001  raised again where somebody waits for it
            self._error = error
        self._steps.put(None)

    def __iter__(self) -> Generator[Step, None, None]:
        threading.Thread(target=self._run, daemon=True).start()
        latest, waited = Step("asking the Hub"), 0.0
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
