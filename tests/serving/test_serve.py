"""`fieldmark serve` as a process: the address line, errors, warnings, and an orderly end."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from fieldmark.classifier import load
from fieldmark.errors import FieldmarkError, ModelFileError, OutputError
from fieldmark.serving import serve as serving_module
from fieldmark.serving.limits import Limits
from fieldmark.serving.service import build_service

from .conftest import TOKEN, Server, serving

BEARER = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "image/png"}


@pytest.fixture
def image(faces: Path) -> bytes:
    return next((faces / "train" / "sad").glob("*.png")).read_bytes()


def ask(server: Server, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, path, body, {**BEARER, **headers})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_the_address_line_and_an_answer(server: Server, trained: Path, faces: Path, image: bytes) -> None:
    assert server.lines == [f"http://127.0.0.1:{server.port}/?token={server.token}\n"]
    status, body = ask(server, "POST", "/api/predict", image)
    (row,) = json.loads(body)["predictions"]
    assert status == 200
    path = next((faces / "train" / "sad").glob("*.png"))
    assert row == {**load(trained).predict(path)[0].to_json(), "path": "image"}


def test_a_port_that_is_taken(server: Server, trained: Path) -> None:
    command = [sys.executable, "-m", "fieldmark", "serve", str(trained), "--port", str(server.port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: cannot listen on 127.0.0.1:{server.port}: Address already in use\n"
        "hint: another program listens there; give --port another number, or 0 for any free one\n"
    )


def test_a_host_that_nobody_knows() -> None:
    with (
        pytest.raises(OutputError, match=r"no\.such\.host\.invalid") as caught,
        serving_module.listening("no.such.host.invalid", 0),
    ):
        pass
    assert "Unknown error" not in str(caught.value)
    assert "while" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"host": ""}, "--host is empty"),
        ({"host": " "}, "--host is empty"),
        ({"host": "0.0.0.0", "https": True}, "--https needs the name"),
    ],
)
def test_an_address_that_cannot_be_is_an_error_with_a_hint_and_nothing_else(
    trained: Path, options: dict[str, Any], error: str
) -> None:
    said: list[str] = []
    with pytest.raises(FieldmarkError, match=error) as caught:
        serving_module.serve(trained, port=0, **options, on_ready=said.append, on_warning=said.append)
    assert caught.value.hint
    assert said == []


def test_behind_a_proxy_with_https(trained: Path) -> None:
    with serving(trained, "--allow-host", "cats.example", "--https") as server:
        assert server.lines == [f"https://cats.example/?token={server.token}\n"]
        assert server.end() == 0
    assert server.errors == []


def test_no_classifier_there(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fieldmark", "serve", str(tmp_path), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no classifier here" in done.stderr


def test_on_windows_it_is_said_that_it_does_not_run_there(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(FieldmarkError, match="does not run on Windows") as caught:
        serving_module.serve(trained, port=0, on_ready=pytest.fail, on_warning=pytest.fail)
    assert "WSL" in caught.value.hint


def test_a_run_that_is_not_finished(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()  # the first entry of a run
    with pytest.raises(ModelFileError, match="unfinished run") as caught:
        build_service(tmp_path, Limits())
    assert "fieldmark train" in caught.value.hint
    assert "alone" not in caught.value.hint
    model = Path(shutil.copy(trained / "model.onnx", tmp_path))
    with pytest.raises(ModelFileError, match="unfinished run") as caught:
        build_service(tmp_path, Limits())
    assert f"serve {model} alone" in caught.value.hint
    assert "same command" not in caught.value.hint  # its --out would find the folder taken
    assert "remove the folder or give another --out" in caught.value.hint
    assert build_service(model, Limits()).run is None
    shutil.copy(trained / "run.json", tmp_path)  # written last
    assert build_service(tmp_path, Limits()).run is not None


@pytest.mark.parametrize(
    ("host", "allowed", "lines"),
    [("127.0.0.1", (), 0), ("::1", (), 0), ("0.0.0.0", (), 2), ("0.0.0.0", ("cats.example",), 1), ("10.0.0.5", (), 1)],
)
def test_warnings_of_a_server_for_others(host: str, allowed: tuple[str, ...], lines: int) -> None:
    assert len(serving_module.warnings(host, allowed)) == lines


def test_a_token_that_no_address_can_hold_or_that_can_be_guessed() -> None:
    for token in ("two words; ünd still more", "fifteen-letters"):
        with pytest.raises(FieldmarkError, match="FIELDMARK_TOKEN"):
            serving_module.check_token(token)
    assert serving_module.check_token("Plain-1_2.3~.456") == "Plain-1_2.3~.456"


def test_hosts_that_are_answered() -> None:
    own = ("127.0.0.1:80", "localhost:80", "[::1]:80")
    assert serving_module.hosts("0.0.0.0", 80, ["cats.example"]) == (*own, "cats.example")
    assert serving_module.hosts("10.0.0.5", 80, []) == (*own, "10.0.0.5:80")


def test_on_all_network_cards(trained: Path) -> None:
    with serving(trained, "--host", "0.0.0.0", "--allow-host", "cats.example") as server:
        assert server.host == "127.0.0.1"  # what this machine can open
        assert ask(server, "GET", "/healthz", Host="cats.example")[0] == 200
        assert ask(server, "GET", "/healthz", Host="dogs.example")[0] == 421
        assert server.end(signal.SIGINT) == 0
    assert len(server.errors) == 1


class Client(threading.Thread):
    """Asks again and again until the server is gone; remembers when each request began and what came of it."""

    def __init__(self, port: int, image: bytes) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.image = image
        self.begun: list[tuple[float, str]] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        for _ in itertools.count():
            begun = time.monotonic()
            try:
                connection.request("POST", "/api/predict", self.image, BEARER)
                answer = connection.getresponse()
                whole = "predictions" in json.loads(answer.read())
                self.begun.append((begun, "answered" if answer.status == 200 and whole else f"{answer.status}"))
            except (OSError, http.client.RemoteDisconnected) as error:
                self.begun.append((begun, type(error).__name__))
                break
        connection.close()


@pytest.mark.parametrize("turn", range(20))
def test_sigterm_under_load(trained: Path, image: bytes, turn: int) -> None:
    """A5.6: whatever was asked before the signal is answered; the server ends with 0 within 10 seconds."""
    with serving(trained) as server:
        clients = [Client(server.port, image) for _ in range(4)]
        for client in clients:
            client.start()
        time.sleep(0.1 + 0.02 * turn)
        signalled = time.monotonic()
        assert server.end() == 0
        assert time.monotonic() - signalled < 10
        for client in clients:
            client.join(30)
    outcomes = [outcome for client in clients for begun, outcome in client.begun if begun < signalled]
    assert set(outcomes) == {"answered"}
    assert server.errors == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=1)


SHORT = """
import sys; from pathlib import Path; from fieldmark.serving import serve
serve.DRAIN_SECONDS = float(sys.argv[2])
serve.serve(Path(sys.argv[1]), port=0, token=sys.argv[3], on_ready=lambda address: print(address, flush=True))
"""


@pytest.mark.parametrize(("drain", "signals"), [("0.2", [signal.SIGTERM]), ("60", [signal.SIGINT, signal.SIGINT])])
def test_an_upload_that_never_ends_is_refused_at_the_end(trained: Path, drain: str, signals: list[int]) -> None:
    """Neither a traceback nor an answer that the document does not have; the second Ctrl-C does not wait."""
    command = [sys.executable, "-c", SHORT, str(trained), drain, TOKEN]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = int(process.stdout.readline().rpartition(":")[2].partition("/")[0])
    head = f"POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 9\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(f"{head}Authorization: Bearer {TOKEN}\r\n\r\nhalf".encode())
        time.sleep(0.2)
        for number in signals:
            process.send_signal(number)
            time.sleep(0.2)
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    _, errors = process.communicate(timeout=10)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "stopping"
    assert (process.returncode, errors) == (0, "")


def test_a_server_that_was_killed_leaves_no_workers(trained: Path, image: bytes) -> None:
    with serving(trained) as server:
        assert ask(server, "POST", "/api/predict", image)[0] == 200
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        if not children.exists():
            pytest.skip("this system does not tell who started whom")
        workers = [int(number) for number in children.read_text().split()]
        server.end(signal.SIGKILL)
        for _ in range(200):
            if not any(Path(f"/proc/{worker}").exists() for worker in workers):
                break
            time.sleep(0.05)
        else:
            pytest.fail(f"workers live on: {workers}, {os.getpid()}")
