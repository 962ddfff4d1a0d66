"""A page behind nginx as docs/deployment.md writes it: TLS in front, under a path."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gradio_client import Client
from page_app import free_port
from waiting import wait_until

NGINX, OPENSSL = shutil.which("nginx"), shutil.which("openssl")
pytestmark = pytest.mark.skipif(not (NGINX and OPENSSL), reason="needs nginx and openssl")
PAGE = """
import sys
import gradio as gr
from charlstm.ui import gradio_patches, server
gradio_patches.use_server(server.start_server)
with gr.Blocks(analytics_enabled=False) as page:
    text = gr.Textbox()
    text.submit(lambda given: given.upper(), text, text, api_name="louder")
page.launch(server_port=int(sys.argv[1]), quiet=True, _frontend=False, ssr_mode=False)
"""
CONFIGURATION = """
daemon off; pid {place}/pid; error_log {place}/error.log; events {{}}
http {{
  access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/f;
  uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {place}/cert.pem; ssl_certificate_key {place}/key.pem;
    {location}
  }}
}}
"""


@pytest.fixture(scope="module")
def address(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The public address of a small page."""
    place = tmp_path_factory.mktemp("nginx")
    port = free_port()
    address = f"https://localhost:{port}/letters"
    subprocess.run(
        [
            str(OPENSSL),
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-keyout",
            place / "key.pem",
            "-out",
            place / "cert.pem",
        ],
        check=True,
        capture_output=True,
    )
    inner = free_port()
    environment = {**os.environ, "GRADIO_ROOT_PATH": address, "GRADIO_TEMP_DIR": str(place / "uploads")}
    page = subprocess.Popen([sys.executable, "-c", PAGE, str(inner)], cwd=repository, env=environment)
    (written,) = re.findall(r"```nginx\n(.*?)```", (repository / "docs" / "deployment.md").read_text(), re.DOTALL)
    location = written.replace("7860", str(inner))
    (place / "nginx.conf").write_text(CONFIGURATION.format(place=place, port=port, location=location))
    nginx = subprocess.Popen([str(NGINX), "-c", place / "nginx.conf", "-p", place, "-e", place / "error.log"])
    try:
        wait_until(lambda: _answers(address) or nginx.poll() is not None or page.poll() is not None)
        assert (nginx.poll(), page.poll()) == (None, None), (place / "error.log").read_text()
        yield address
    finally:
        nginx.terminate()
        nginx.wait()
        page.kill()
        page.wait()


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/", verify=False).status_code == 200
    except httpx.HTTPError:
        return False


def test_the_page_knows_its_public_address(address: str) -> None:
    config = httpx.get(f"{address}/config", verify=False).json()
    assert config["root"] == address


def test_its_own_page_is_served_and_another_is_not(address: str) -> None:
    own = address.rsplit("/", 1)[0]
    call = f"{address}/gradio_api/call/louder"
    for headers, status in (
        ({"Origin": own, "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": own}, 200),
        ({}, 200),
        ({"Origin": "https://evil.example"}, 403),
    ):
        assert httpx.post(call, headers=headers, json={"data": ["a"]}, verify=False).status_code == status


def test_a_program_calls_it_by_its_public_address(address: str) -> None:
    client = Client(f"{address}/", verbose=False, ssl_verify=False)
    assert client.predict("roméo", api_name="/louder") == "ROMÉO"
    client.close()
