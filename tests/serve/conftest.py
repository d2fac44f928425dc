"""A page that really listens, on a port of its own, with a judge that a test chooses."""

import http.client
import json
import socket
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("starlette")

from aqa_jax.serve.app import Limits, make_app  # noqa: E402


@contextmanager
def serving(judge, *, megabytes=1, seconds=20.0, needs_difficulty=False, **difficulty):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        app = make_app(
            judge, port=port, limits=Limits(megabytes, seconds), needs_difficulty=needs_difficulty,
            name="a <model>", **difficulty,
        )  # fmt: skip
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, server_header=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 20
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.started
        try:
            yield port
        finally:
            server.should_exit = True
            thread.join(20)


def ask(port, method="GET", path="/", body=None, **headers):
    """Status, headers, and the body: an object where it is JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
        response = connection.getresponse()
        text = response.read().decode()
        is_json = response.headers.get_content_type() == "application/json"
        return SimpleNamespace(
            status=response.status, headers=response.headers, text=text, json=json.loads(text) if is_json else None
        )
    finally:
        connection.close()


@pytest.fixture
def serve():
    return serving


@pytest.fixture
def asking():
    return ask
