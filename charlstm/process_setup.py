"""Setup of the process before libraries are imported, which read the environment then, and only then.

A home and a place for caches where there is none, how long threads spin, and checks of variables that would end an
import with a traceback. What Gradio alone needs before its import is in `charlstm.ui.gradio_import`.
"""

import errno
import os
import ssl
from collections.abc import Iterable
from pathlib import Path

from charlstm.environment import (
    GOMP_SPINCOUNT,
    HF_HOME,
    HF_HUB_DOWNLOAD_TIMEOUT,
    HF_HUB_ETAG_TIMEOUT,
    OMP_WAIT_POLICY,
    SSL_CERT_DIR,
    SSL_CERT_FILE,
    XDG_CACHE_HOME,
    Variable,
    is_public,
)
from charlstm.errors import ConfigError
from charlstm.files import why_not_writable
from charlstm.private_folders import make_temporary

NUMBERS_OF_THE_HUB = (HF_HUB_DOWNLOAD_TIMEOUT, HF_HUB_ETAG_TIMEOUT)
_NO_IMPLICIT_TOKEN = "HF_HUB_DISABLE_IMPLICIT_TOKEN"  # noqa: S105  no token, but that the machine's is not used
_SPINS = "3000"  # some tens of microseconds


def ensure_home() -> None:
    """Set HOME and USER where `Path.home()` would fail, which many libraries call.

    In some containers there is no HOME, and no entry for the user among the system's.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(make_temporary())
        os.environ.setdefault("USER", "nobody")


def limit_spinning() -> None:
    """Make threads that wait for each other sleep soon, unless variables of OpenMP say otherwise.

    Called before torch is imported, whose OpenMP library reads them then. By default a waiting thread spins for
    milliseconds. Where another program has one of the cores, it thereby takes the time of the very thread that it waits
    for. *Measured* on 2026-11-29 on 2 cores of a shared x86-64 machine with AVX512-BF16, milliseconds of a training
    step at 1 x 384 and 1 x 768, medians of five processes: 9.2 and 47 before, 9.1 and 45 with this; and with a core
    taken by an endless loop, 34 and 145 before, 18 and 92 with this.
    """
    if not any(variable.text() for variable in (GOMP_SPINCOUNT, OMP_WAIT_POLICY)):
        os.environ[GOMP_SPINCOUNT.name] = _SPINS


def prepare_environment() -> None:
    """Give caches a place where the home can't be written, and pass no token where nobody asked for it."""
    if is_public():
        os.environ[_NO_IMPLICIT_TOKEN] = "1"
    if not _has_cache():
        place = make_temporary()
        os.environ[XDG_CACHE_HOME.name] = str(place / "cache")
        os.environ.setdefault(HF_HOME.name, str(place / "huggingface"))


def _has_cache() -> bool:
    try:
        home = Path(XDG_CACHE_HOME.text() or Path.home() / ".cache")
    except RuntimeError:  # no HOME, and a user whom nobody has entered
        return False
    return not why_not_writable(home)


def check_certificates() -> None:
    """Raise `ConfigError` where no connection could be encrypted with the certificates that a variable names."""
    named = next(filter(Variable.text, (SSL_CERT_FILE, SSL_CERT_DIR)), None)
    if named is None:
        return
    place = named.text()
    try:
        if named is SSL_CERT_FILE:
            ssl.create_default_context(cafile=place)
        elif not any(map(os.path.isdir, place.split(os.pathsep))):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    except OSError as error:  # that of certificates which are none among them
        reason = "no certificates" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(
            f"the certificates in {named.name}={place[:200]!r} can't be read ({reason}); name others or none."
        ) from None


def check_numbers(variables: Iterable[Variable[int]] | Iterable[Variable[float]]) -> None:
    """Drop those that are empty, which libraries would read as numbers all the same.

    Called before these are imported; raises `ConfigError` for one that is not a number.
    """
    for variable in variables:
        if variable.text():
            variable.read()
        else:
            os.environ.pop(variable.name, None)
