"""Logins of the Share tab: whose acts for whom, and who is signed in.

On a Space visitors sign in and publish as themselves; on a person's own machine that machine's login is used, and only
for requests from the machine itself.
"""

import re
from urllib.parse import urlsplit

import gradio as gr

from charlstm.environment import is_public
from charlstm.errors import CharLSTMError, HubError
from charlstm.formatting import capitalize, error_text, escape_html
from charlstm.hub.client import account_name, write_token

_COMMAND = re.compile("&#96;([a-z ]+)&#96;")  # between backticks, as `escape_html` writes them
_LOOPBACK = ("127.0.0.1", "::1")
_PROXY_HEADERS = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")


def token_for(request: gr.Request, oauth: gr.OAuthToken | None) -> str:
    """Return the visitor's token on a Space, elsewhere this machine's; raises `HubError` for requests from others."""
    if not is_public() and not _is_local(request):
        raise HubError("the login of this machine acts only for whoever sits at it; publish from there.")
    return write_token(oauth.token if oauth else None)


def describe_login(request: gr.Request, profile: gr.OAuthProfile | None, oauth: gr.OAuthToken | None) -> str:
    """Describe as HTML who would publish now, or what to do first."""
    try:
        token = token_for(request, oauth)
        name = profile.username if profile else account_name(token)
    except CharLSTMError as error:
        told = _COMMAND.sub(r"<code>\1</code>", escape_html(capitalize(error_text(error))))
        return f'<div class="hub-login">{told}</div>'
    whose = "" if is_public() else ", with the login of this machine"
    return f'<div class="hub-login">✓ Signed in as <b>{escape_html(name)}</b>{whose}.</div>'


def _is_local(request: gr.Request) -> bool:
    """Return whether the request comes from this machine itself, as far as that can be recognised.

    A proxy on this machine has a loopback address too. Most proxies name the client they act for, pass on the host that
    was asked for, or speak HTTP/1.0 (nginx by default). One that does none of these can't be distinguished from a local
    browser: its owner sets CHARLSTM_PUBLIC.
    """
    if request.client is None or request.client.host not in _LOOPBACK:
        return False
    headers = request.headers
    asked_for = urlsplit(f"//{headers.get('host', '')}").hostname
    is_direct = request.request is None or request.request.scope.get("http_version") != "1.0"
    return is_direct and asked_for in (*_LOOPBACK, "localhost") and not any(name in headers for name in _PROXY_HEADERS)
