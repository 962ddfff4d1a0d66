"""Environment variables: every one that the package reads, and the limits that some of them set.

Each is a `Variable`, read through it alone; `VARIABLES` lists them all, as `docs/variables.md` does, and `deploy` takes
those of them that suit a Space. Starts without torch.
"""

import ipaddress
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from charlstm.errors import ConfigError

_T = TypeVar("_T")
_SHOWN_CHARS = 100  # of a value that can't be used

_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[^\[\]:/\\@\s?#,]+)(?::(?P<port>\d{1,5}))?")
_THREADS = re.compile(r"0*[1-9][0-9]*( *, *0*[1-9][0-9]*)*")  # a list is for teams within teams
_MOST_PORTS, _MOST_WORKERS, _MOST_SECONDS = 65535, 64, 3600


@dataclass(frozen=True)
class Variable(Generic[_T]):
    """An environment variable: its value is `parse` of its text, or `default` where that is empty.

    `parse` raises `ValueError` for a text that is not what `must_be` says.
    """

    name: str
    meaning: str
    parse: Callable[[str], _T]
    default: _T
    must_be: str = ""
    suits_a_space: bool = False  # as a public setting that the owner chooses: no secret, and not the platform's

    def text(self, environment: Mapping[str, str] | None = None) -> str:
        """Return what is set, without spaces around it; empty for none."""
        return (os.environ if environment is None else environment).get(self.name, "").strip()

    def read(self, environment: Mapping[str, str] | None = None) -> _T:
        """Return the value. Raises `ConfigError` for one that can't be used."""
        text = self.text(environment)
        return self.parse_text(text) if text else self.default

    def parse_text(self, text: str) -> _T:
        """Return the value that `text` stands for. Raises `ConfigError` if it can't be used."""
        try:
            return self.parse(text)
        except ValueError:
            shown = text[:_SHOWN_CHARS]
            raise ConfigError(
                f"the environment variable {self.name} is {shown!r}; it must be {self.must_be}."
            ) from None


def parse_host(host: str) -> tuple[str, int | None] | None:
    """Return name, in small letters and without brackets, and port of a Host header; `None` if it is none."""
    found = _HOST.fullmatch(host.strip())
    if found is None:
        return None
    return found["name"].lower().strip("[]").rstrip("."), int(found["port"]) if found["port"] else None


def _hosts(text: str) -> tuple[str, ...]:
    """Return the hosts and origins that `text` lists."""
    entries = tuple(each for each in re.split(r"[,\s]+", text) if each)
    if "*" in text or not all(parse_host(urlsplit(each).netloc if "://" in each else each) for each in entries):
        raise ValueError("neither a host nor an origin")
    return entries


def _root_path(text: str) -> str:
    """Return `text`, a path or an address whose host can be read."""
    if "://" in text:
        _hosts(text)
    return text


def _networks(text: str) -> str:
    """Return `text`, a list of addresses and networks; with uvicorn's `*` anybody could name any address as theirs."""
    for each in text.split(","):
        ipaddress.ip_network(each.strip())
    return text


def _days(text: str) -> float:
    """Return a number of days."""
    if not 0 <= (days := float(text)) < math.inf:
        raise ValueError("not a number of days")
    return days


def _flag(text: str) -> bool:
    """Return whether `text` is 1; it may be 0."""
    return bool(("0", "1").index(text))


def _whole(most: int) -> Callable[[str], int]:
    """Return a parser of whole numbers up to `most`."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) > most:
            raise ValueError("no such number")
        return int(text)

    return parse


def _threads(text: str) -> str:
    """Return OpenMP's own form of a number of threads."""
    if not _THREADS.fullmatch(text):  # of which OpenMP would only say that it goes its own way
        raise ValueError("not a number of threads")
    return text


def _text(name: str, meaning: str, default: str = "", suits_a_space: bool = False) -> Variable[str]:
    """Return a variable whose value may be any text."""
    return Variable(name, meaning, str, default, suits_a_space=suits_a_space)


PUBLIC = Variable(
    "CHARLSTM_PUBLIC", "1: strangers come here; a run obeys only the browser that started it", _flag, False,
    must_be="1, or 0", suits_a_space=True,
)  # fmt: skip
ALLOWED_HOSTS: Variable[tuple[str, ...]] = Variable(
    "CHARLSTM_ALLOWED_HOSTS", "further names by which this app is reached, and origins whose pages may use it",
    _hosts, (), must_be="hosts or origins, as in example.org,https://example.org", suits_a_space=True,
)  # fmt: skip
BACKUP_REPO = _text("CHARLSTM_BACKUP_REPO", "repository on the Hub to which runs are copied", suits_a_space=True)
TRASH_DAYS = Variable(
    "CHARLSTM_TRASH_DAYS", "days for which deleted runs can be restored", _days, 30.0,
    must_be="a number of days, 0 or more", suits_a_space=True,
)  # fmt: skip
CORPUS_DIR = _text("CHARLSTM_CORPUS_DIR", "folder of texts, used instead of the network", suits_a_space=True)
KERNEL = _text("CHARLSTM_KERNEL", "off: PyTorch does all the work, nothing is compiled", suits_a_space=True)

CC = _text("CC", "the C compiler that is tried first", suits_a_space=True)
OMP_NUM_THREADS = Variable(
    "OMP_NUM_THREADS", "threads of a training process", _threads, "", must_be="a whole number of 1 or more",
    suits_a_space=True,
)  # fmt: skip
OMP_WAIT_POLICY = _text("OMP_WAIT_POLICY", "how threads wait for each other", suits_a_space=True)  # by OpenMP
GOMP_SPINCOUNT = _text("GOMP_SPINCOUNT", "how often a waiting thread looks before it sleeps", suits_a_space=True)
XDG_CACHE_HOME = _text("XDG_CACHE_HOME", "place of the kernel, of fetched and prepared texts", suits_a_space=True)
XDG_DATA_HOME = _text("XDG_DATA_HOME", "place of an installed copy's runs", suits_a_space=True)  # by platformdirs
HF_HOME = _text("HF_HOME", "cache of the Hub's client", suits_a_space=True)  # this and the next two: by that client
HF_ENDPOINT = _text("HF_ENDPOINT", "address of another Hub", suits_a_space=True)
HF_HUB_OFFLINE = _text("HF_HUB_OFFLINE", "1: the Hub is not asked for anything", suits_a_space=True)
HF_HUB_DOWNLOAD_TIMEOUT, HF_HUB_ETAG_TIMEOUT = (
    Variable(name, meaning, _whole(_MOST_SECONDS), 10, must_be=f"a whole number of seconds up to {_MOST_SECONDS}")
    for name, meaning in (
        ("HF_HUB_DOWNLOAD_TIMEOUT", "seconds that a download from the Hub may stand still"),
        ("HF_HUB_ETAG_TIMEOUT", "seconds that the Hub may take to describe a file"),
    )
)
HF_TOKEN = _text("HF_TOKEN", "a login: of the machine, or on a Space the secret that writes to the backup repository")
GRADIO_ROOT_PATH: Variable[str] = Variable(
    "GRADIO_ROOT_PATH", "prefix or address behind a proxy", _root_path, "", must_be="a path, or an address with a host"
)
GRADIO_SERVER_NAME = _text("GRADIO_SERVER_NAME", "address to listen on", "127.0.0.1")
GRADIO_SERVER_PORT = Variable(
    "GRADIO_SERVER_PORT", "first port that is tried", _whole(_MOST_PORTS), 7860,
    must_be=f"a whole number up to {_MOST_PORTS}",
)  # fmt: skip
GRADIO_NUM_PORTS = Variable(
    "GRADIO_NUM_PORTS", "ports that are tried, one after the other", _whole(_MOST_PORTS), 100,
    must_be=f"a whole number up to {_MOST_PORTS}",
)  # fmt: skip
GRADIO_NUM_WORKERS = Variable(
    "GRADIO_NUM_WORKERS", "processes that serve the page", _whole(_MOST_WORKERS), 1,
    must_be=f"a whole number up to {_MOST_WORKERS}",
)  # fmt: skip
FORWARDED_ALLOW_IPS = Variable(  # by uvicorn
    "FORWARDED_ALLOW_IPS", "proxies that are believed whom they ask for", _networks, "127.0.0.1,::1",
    must_be="addresses or networks of proxies, as in 172.18.0.2,10.0.0.0/8", suits_a_space=True,
)  # fmt: skip
GRADIO_SHARE = _text("GRADIO_SHARE", "true: the page has an address under gradio.live too, so strangers come here")
GRADIO_TEMP_DIR = _text("GRADIO_TEMP_DIR", "folder of uploads", suits_a_space=True)
SPACE_ID = _text("SPACE_ID", "set on a Space: its limits hold")
SPACE_HOST = _text("SPACE_HOST", "set on a Space: names by which it is reached")
SPACE_AUTHOR_NAME = _text("SPACE_AUTHOR_NAME", "set on a Space: its owner")
SPACES_ZERO_GPU = _text("SPACES_ZERO_GPU", "set on a ZeroGPU Space: its GPU is lent by the call")
OAUTH_CLIENT_ID = _text("OAUTH_CLIENT_ID", "set on a Space whose visitors can sign in")
OAUTH_CLIENT_SECRET = _text("OAUTH_CLIENT_SECRET", "set on a Space whose visitors can sign in")
TORCHELASTIC_RUN_ID = _text("TORCHELASTIC_RUN_ID", "set by torchrun: several processes train as one")
TORCHELASTIC_RESTART_COUNT = _text("TORCHELASTIC_RESTART_COUNT", "set by torchrun: how often it restarted", "0")
RANK = _text("RANK", "set by torchrun: number of the process", "0")
WORLD_SIZE = _text("WORLD_SIZE", "set by torchrun: how many processes there are", "1")
LOCAL_RANK = _text("LOCAL_RANK", "set by torchrun: number of the process on its machine", "0")
LOCAL_WORLD_SIZE = _text("LOCAL_WORLD_SIZE", "set by torchrun: how many processes its machine has", "1")
PROXIES = tuple(
    _text(name, "proxy of requests")
    for lower in ("http_proxy", "https_proxy", "all_proxy")
    for name in (lower, lower.upper())
)
NO_PROXY = tuple(_text(name, "hosts that are asked directly") for name in ("no_proxy", "NO_PROXY"))
PYTHONPATH = _text("PYTHONPATH", "folders of modules, handed on to a run's own process")
PYTHONIOENCODING = _text("PYTHONIOENCODING", "set for a run's own process, as its log is read")
HOME, USER = (_text(name, "the user's home and name, set where the system knows neither") for name in ("HOME", "USER"))
TMPDIR = _text("TMPDIR", "folder for temporary files")  # by Python
SSL_CERT_FILE = _text("SSL_CERT_FILE", "certificates of a proxy that signs with its own")  # by Python
SSL_CERT_DIR = _text("SSL_CERT_DIR", "folder of such certificates")  # by Python, where the one above is not set
HF_HUB_DISABLE_IMPLICIT_TOKEN = _text("HF_HUB_DISABLE_IMPLICIT_TOKEN", "set where strangers come: no login unasked")
HF_HUB_DISABLE_SYMLINKS_WARNING = _text("HF_HUB_DISABLE_SYMLINKS_WARNING", "set: no warning about missing links")

# What libraries read as numbers of their own affairs, and end with a traceback where it is none.
_KINDS: dict[Callable[[str], float], str] = {int: "a whole number", float: "a number"}
NUMBERS_OF_LIBRARIES, NUMBERS_OF_THE_SERVER = (
    tuple(Variable[float](name, "", parse, 0, _KINDS[parse]) for parse, names in kinds for name in names.split())
    for kinds in (
        (
            (float, "TQDM_TOTAL TQDM_MININTERVAL TQDM_MAXINTERVAL TQDM_MINITERS TQDM_SMOOTHING TQDM_DELAY"),
            (int, "TQDM_NCOLS TQDM_NROWS TQDM_POSITION TQDM_INITIAL TQDM_UNIT_DIVISOR"),
            (int, "TORCH_DISABLE_NATIVE_JIT TORCH_NATIVE_SKIP_VERSION_CHECK"),
        ),
        ((int, "GRADIO_DEBUG GRADIO_NODE_NUM_PORTS GRADIO_ANALYTICS_MAX_EVENTS WEB_CONCURRENCY"),),
    )
)


_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Limits(BaseModel):
    """Limits of what a visitor may ask for; 0 is no limit. The variable CHARLSTM_<FIELD> overrides a field."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    max_parameters: int = Field(0, ge=0, description="Parameters of a model")
    max_minutes: _Amount = Field(0, description="Training time of a run in all, in minutes")
    max_corpus_mb: _Amount = Field(0, description="Size of a text, in megabytes")
    max_memory_mb: _Amount = Field(
        0, description="Memory that training a run may need, in megabytes; without a limit what the machine has"
    )
    max_runs: int = Field(1, ge=1, description="Runs that train at the same time")
    max_paused_minutes: _Amount = Field(
        0, description="Time for which a run may rest paused; then it is saved and stopped"
    )
    max_queue: int = Field(0, ge=0, description="Runs that wait for their turn")
    max_queue_each: int = Field(0, ge=0, description="Of those, runs of one visitor")
    max_kept_runs: int = Field(0, ge=0, description="Visitors' runs and models that are kept, the newest")
    max_disk_mb: _Amount = Field(
        0, description="Disk for runs (deleted ones too), kept texts and pulled models, in megabytes"
    )
    max_kept_hours: _Amount = Field(0, description="Hours for which a visitor's run or model is kept")
    max_download_mb: _Amount = Field(2000, description="Size of a model that is pulled, in megabytes")


LOCAL_LIMITS = Limits()
SPACE_LIMITS = Limits(
    max_parameters=5_000_000,
    max_minutes=10,
    max_corpus_mb=10,
    max_memory_mb=4000,
    max_runs=1,
    max_paused_minutes=10,
    max_queue=20,
    max_queue_each=3,
    max_kept_runs=200,
    max_disk_mb=2000,
    max_kept_hours=24,
    max_download_mb=200,
)


def env_name(limit: str) -> str:
    """Return the environment variable that overrides a limit."""
    return f"CHARLSTM_{limit.upper()}"


def _limit(name: str) -> Variable[float | None]:
    """Return the variable of a limit; pydantic's errors are `ValueError`s too."""
    meaning = Limits.model_fields[name].description
    assert meaning is not None
    kind = "a whole number" if Limits.model_fields[name].annotation is int else "a number"
    must_be = f"{kind} of 1 or more" if name == "max_runs" else f"{kind} of 0 or more (0 for no limit)"
    return Variable(
        env_name(name), meaning, lambda text: getattr(Limits(**{name: text}), name), None, must_be, suits_a_space=True
    )  # fmt: skip


_OF_LIMITS = {name: _limit(name) for name in Limits.model_fields}
# all that stand above, by name
VARIABLES: dict[str, Variable[Any]] = {
    each.name: each
    for each in (*_OF_LIMITS.values(), *list(globals().values()), *PROXIES, *NO_PROXY)
    if isinstance(each, Variable)
}


def is_space() -> bool:
    """Return whether this is a Space on the Hugging Face Hub."""
    return bool(SPACE_ID.text())


def is_public() -> bool:
    """Return whether strangers use this app: on a Space, at a shared link, or where CHARLSTM_PUBLIC is set to 1."""
    return is_space() or is_shared() or PUBLIC.text() == "1"


def is_shared() -> bool:
    """Return whether the page has an address under gradio.live, by Gradio's own rule."""
    return GRADIO_SHARE.text().lower() == "true"


def is_zero_gpu() -> bool:
    """Return whether this is a Space whose GPU is lent for a call at a time (ZeroGPU)."""
    return SPACES_ZERO_GPU.text().lower() in ("1", "t", "true")


def is_torchrun_helper() -> bool:
    """Return whether this is one of several processes that train together, and not rank 0."""
    return bool(TORCHELASTIC_RUN_ID.text()) and RANK.text() != "0"


def is_kernel_off() -> bool:
    """Return whether PyTorch is to do all the work."""
    return KERNEL.text().lower() == "off"


def limits() -> Limits:
    """Return the limits here and now. Raises `ConfigError` for a variable out of range."""
    return with_overrides(SPACE_LIMITS if is_public() else LOCAL_LIMITS, os.environ)


def with_overrides(base: Limits, environment: Mapping[str, str]) -> Limits:
    """Return `base` with the limits that variables set. Raises `ConfigError` for one out of range."""
    read = {name: variable.read(environment) for name, variable in _OF_LIMITS.items()}
    return base.model_copy(update={name: value for name, value in read.items() if value is not None})


def max_runs() -> int:
    """Return how many runs train at the same time. Raises `ConfigError` where the variable is out of range."""
    return int(_OF_LIMITS["max_runs"].read() or LOCAL_LIMITS.max_runs)


def child_environment(package_home: Path, **changes: str) -> dict[str, str]:
    """Return this process's variables for another one, which finds modules in `package_home` first."""
    path = os.pathsep.join(filter(None, [str(package_home), PYTHONPATH.text()]))
    return {**os.environ, PYTHONPATH.name: path, **changes}
