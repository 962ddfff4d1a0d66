"""Error messages: what a failure of an exchange with the Hub means for a person, in one sentence.

What the Hub says of its reason is passed on: cleaned and shortened, since whoever answers may be anybody.
"""

import errno
import json
import math
import re
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from importlib import import_module
from typing import Any

from huggingface_hub import constants
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from charlstm.errors import HubError
from charlstm.formatting import format_duration

# httpx, or httpx2 since version 2: the library that the client's errors come from
httpx: Any = import_module(
    next(each.__module__ for each in HfHubHTTPError.__mro__ if each.__module__.startswith("httpx")).partition(".")[0]
)
_DAY_SECONDS = 86400
_LONGEST_REASON = 240
_SAYS_ENOUGH = (400, 403, 404, 422)  # what helps depends on the Hub's reason
_MOST_BODY_BYTES = 100_000
_PORTAL = (
    "a web page came where the Hub's answer should be; does this network want a sign-in first? Open a browser and see, "
    "then try again."
)


class HubAway(HubError):
    """Nobody who is the Hub answers, so that what was fetched before may serve."""


def describe(error: BaseException, subject: str) -> HubError:
    """Describe what `error` means for a person, in one sentence that holds no login and no signed address."""
    for each in _causes(error):
        if isinstance(each, HubError):
            return each
        if sentence := _sentence(each, subject):
            return HubError(sentence)
    return HubError(f"the Hub's answer about {subject} can't be understood ({type(error).__name__}); try again later.")


def describe_portal() -> HubAway:
    """Make the error for a network whose sign-in page answered."""
    return HubAway(_PORTAL)


def describe_wait(seconds: int) -> str:
    """Return the sentence for whoever asks too often."""
    wait = (
        "in a few minutes"
        if not seconds
        else f"in {format_duration(seconds)}"
        if seconds < _DAY_SECONDS
        else "another day"
    )
    return f"the Hub asks for fewer requests; try again {wait}."


def retry_seconds(headers: Any) -> int:
    """Return the seconds that the server asks to wait, in either header that the Hub uses; 0 if it does not say."""
    limit = re.search(r"\br\s*=\s*0\s*;\s*t\s*=\s*(\d{1,9})", str(headers.get("ratelimit") or ""), re.ASCII)
    return max(_seconds(str(headers.get("retry-after") or "").strip()), int(limit[1]) if limit else 0)


def _seconds(given: str) -> int:
    """Return the seconds of a Retry-After, which is a number or a date."""
    if re.fullmatch(r"\d+", given, re.ASCII):
        return int(given[:9])
    try:
        return max(0, math.ceil(parsedate_to_datetime(given).timestamp() - time.time()))
    except (ValueError, TypeError, OverflowError):
        return 0


def is_hub_address(address: Any) -> bool:
    """Return whether the Hub itself is at this address, not its storage or another server."""
    hub = httpx.URL(constants.ENDPOINT)
    return (address.scheme, address.host, address.port) == (hub.scheme, hub.host, hub.port)


def find_reason(response: Any) -> str:
    """Return the server's reason, on one line, as a terminal and a page may show it; empty if it gives none."""
    said = [str(response.headers.get("x-error-message") or ""), *_reasons_in(response)]
    lines = dict.fromkeys(line for each in said if (line := _clean_reason(each)))
    distinct = [line for line in lines if not any(line != other and line in other for other in lines)]
    reason = "; ".join(line.rstrip(" .") for line in distinct)
    return reason if len(reason) <= _LONGEST_REASON else reason[: _LONGEST_REASON - 1].rstrip() + "…"


def _reasons_in(response: Any) -> list[str]:
    try:
        data = response.read()[:_MOST_BODY_BYTES]
    except (httpx.HTTPError, httpx.StreamError, OSError, RuntimeError):
        return []
    kind = str(response.headers.get("content-type") or "").lower()
    text = data.decode("utf-8", errors="replace")
    if "html" in kind or text.lstrip()[:1] == "<":
        return re.findall(r"<Message>([^<]*)</Message>", text)[:1]  # as storages of S3's kind say it
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return [text]
    return list(_texts_of(answer))


def _texts_of(answer: Any) -> Iterator[str]:
    """Yield `error`, `message` and the like of a JSON answer: texts, objects with a text, or lists of either."""
    if isinstance(answer, str):
        yield answer
    elif isinstance(answer, list):
        for each in answer[:5]:
            yield from _texts_of(each)
    elif isinstance(answer, dict):
        for key in ("error", "error_description", "message", "errors"):
            yield from (
                _texts_of(answer.get(key))
                if not isinstance(answer.get(key), dict)
                else _texts_of(answer[key].get("message"))
            )


def _clean_reason(said: str) -> str:
    """Reduce a reason to one line without control characters, logins, foreign addresses and signatures."""
    said = "".join(char if char.isprintable() else " " for char in said[: 8 * _LONGEST_REASON])
    said = re.sub(r"\bhf_\w+", "hf_...", said)
    said = re.sub(r"https?://[^\s\"'<>]+", _own_address, said)
    return " ".join(said.split())


def _own_address(found: "re.Match[str]") -> str:
    address = found[0].partition("?")[0].partition("#")[0]
    is_own = any(f"{address}/".startswith(f"{own}/") for own in ("https://huggingface.co", constants.ENDPOINT))
    return address if is_own else "(an address)"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the causes from the outermost, but wrappers last: what the library wraps is what happened."""
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
    if isinstance(error, httpx.HTTPError) and (sentence := _sentence_of_transport(error)):
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
            (httpx.HTTPError, ConnectionError),
            "the Hub can't be reached, or the connection broke; nothing here is lost, check the network and try again.",
        ),
    ]
    return next((sentence for kind, sentence in sentences if isinstance(error, kind)), None)


def _sentence_of_transport(error: Any) -> str | None:
    if isinstance(error, httpx.TimeoutException):
        seconds = _limit_of(error)
        waited = f"for {seconds:g} seconds" if seconds else "in time"
        return f"the Hub has not answered {waited}; nothing here is lost, try again later."
    if isinstance(error, httpx.ProxyError):
        reason = _clean_reason(str(error))[:80]
        return f"the proxy (HTTPS_PROXY) does not let this through ({reason}); see to its settings."
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        found = re.search(r"certificate verify failed: (.+?)(?: \(_ssl|$)", str(error))
        return (
            f"the Hub's certificate is not trusted here ({_clean_reason(found[1] if found else 'unknown')}); behind a "
            "company's proxy name the file of its certificates in SSL_CERT_FILE, then try again."
        )
    return None


def _limit_of(error: Any) -> float | None:
    """Return the seconds after which the client gave up, as the request says."""
    try:
        limits = error.request.extensions.get("timeout") or {}
    except RuntimeError:  # it belongs to no request
        return None
    value = limits.get(type(error).__name__.removesuffix("Timeout").lower())
    return float(value) if value else None


def _sentence_of_disk(error: OSError) -> str | None:
    if (
        error.errno in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", None))
        or "enough disk space" in str(error).lower()
    ):
        return "there is no space left for the Hub's cache (HF_HOME); free some up and try again."
    names_file = error.filename is not None and not isinstance(error, ConnectionError)
    if names_file or error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.ENOENT):
        return "the Hub's cache (HF_HOME) can't be written; name another folder in HF_HOME and try again."
    if "Consistency check failed" in str(error):
        return "what arrived is not as long as the Hub says; nothing of it is kept, try again."
    return None


def _sentence_of_status(error: HfHubHTTPError, subject: str) -> str:
    response, status = error.response, error.response.status_code
    reason = find_reason(response)
    if status == 511:
        return _PORTAL
    if not is_hub_address(response.request.url) and status not in (402, 413, 429, 507):
        said = f" (it answers {status}{f': {reason}' if reason else ''})"
        return f"the Hub's storage has a problem{said}; nothing here is lost, trying again helps."
    if isinstance(error, GatedRepoError):
        return f"{subject} is open only to whom its owner admits; ask for that on its page on the Hub, or log in."
    if status == 401 and "credentials" in reason.lower():
        return "the Hub does not know this login (any more); log in again and try again."
    if isinstance(error, RepositoryNotFoundError):
        return f"there is no {subject} on the Hub that this login may see; check its name, and log in if it is private."
    if status == 429:
        return describe_wait(retry_seconds(response.headers))
    is_reading = response.request.method in ("GET", "HEAD") or isinstance(error, DisabledRepoError)
    what, advice = _meanings(subject, is_reading).get(status, _others(status))
    if not reason or (status >= 500 and status != 507):
        return f"{what}; {advice}."
    return f"{what}: the Hub says “{reason}”{'' if status in _SAYS_ENOUGH else f'; {advice}'}."


def _meanings(subject: str, is_reading: bool) -> dict[int, tuple[str, str]]:
    """Return for each status what it means, and what to do where the Hub gives no reason."""
    denied = (
        (f"this login may not read {subject}", "use one that may, or choose another repository")
        if is_reading
        else (f"this login may not write to {subject}", "use one that may write, or another name")
    )
    raced = (f"{subject} was changed by somebody else at this moment", "try again")
    return {
        400: (f"the Hub does not accept what was sent for {subject}", "check the name and try again"),
        401: ("the Hub asks for a login", "log in (`hf auth login`, or Sign in with Hugging Face) and try again"),
        402: (
            f"the Hub wants a paid plan for {subject}",
            "upgrade the account, or choose hardware that it may have (a free one: `deploy --hardware zero-a10g`)",
        ),
        403: denied,
        404: (f"there is no {subject} on the Hub that this login may see", "check its name"),
        407: ("the network's proxy asks for a login", "put it into HTTPS_PROXY and try again"),
        409: raced,
        410: (f"{subject} is gone from the Hub", "choose another repository"),
        412: raced,
        413: (f"a file is larger than the Hub takes for {subject}", "make it smaller"),
        422: (f"the Hub can't work with what was sent for {subject}", "trying again does not help"),
        423: (f"{subject} is locked on the Hub", "see to it on its page there"),
        451: (f"{subject} may not be served for legal reasons", "choose another repository"),
        507: (f"the account has no storage left for {subject}", "free some up and try again"),
    }


def _others(status: int) -> tuple[str, str]:
    if status < 500:
        return f"the Hub refuses this (it answers {status})", "check what was asked for"
    return f"the Hub has a problem (it answers {status})", "nothing here is lost, try again later"
