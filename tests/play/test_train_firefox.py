"""The page trains in Firefox, too. Driven by its own protocol (Marionette): Debian's Firefox needs no other part."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts.page_losses import allowed
from test_train_node import on_the_command_line

from rungwise.data.words import load
from rungwise.engine import native
from rungwise.ladder import RUNGS
from rungwise.play.page import build
from rungwise.play.trainable import empty

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
pytestmark = [
    pytest.mark.skipif(not FIREFOX, reason="needs Firefox (apt-get install firefox-esr)"),
    pytest.mark.skipif(native.why_not() is not None, reason="needs the native engine to compare with"),
]
RUNGS_HERE = ("baseline", "gelu", "dropout-5k", "swiglu", "stream")


TOLD = "return ['train-note', 'train-said'].map((id) => document.getElementById(id).textContent).join('')"


class Marionette:
    """A message is LENGTH:[kind, number, command or error, parameters or result]."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.file, self.number = self.socket.makefile("rb"), 0
        self.read()
        self.ask("WebDriver:NewSession")

    def read(self) -> Any:
        length = b""
        while (byte := self.file.read(1)) != b":":
            length += byte
        return json.loads(self.file.read(int(length)))

    def ask(self, command: str, **parameters: Any) -> Any:
        self.number += 1
        message = json.dumps([0, self.number, command, parameters]).encode()
        self.socket.sendall(b"%d:%s" % (len(message), message))
        _, _, error, result = self.read()
        assert error is None, error
        return result

    def run(self, script: str, *args: Any) -> Any:
        return self.ask("WebDriver:ExecuteScript", script=script, args=list(args), sandbox=None)["value"]


@pytest.fixture
def firefox(tmp_path: Path) -> Iterator[Marionette]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    profile = tmp_path / "profile"
    profile.mkdir()
    (profile / "user.js").write_text(f'user_pref("marionette.port", {port});\n')
    command = [str(FIREFOX), "--headless", "--marionette", "--no-remote", "--profile", str(profile)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield connect(port)
    finally:
        process.terminate()
        process.wait(30)


def connect(port: int) -> Marionette:
    for _ in range(120):
        try:
            return Marionette(port)
        except ConnectionError:
            time.sleep(0.5)
    raise AssertionError("Firefox does not answer.")


def test_rungs_train_in_firefox_as_on_the_command_line(firefox: Marionette, tmp_path: Path) -> None:
    path = tmp_path / "empty.html"
    path.write_text(build(empty()), encoding="utf-8")
    firefox.ask("WebDriver:Navigate", url=path.as_uri())
    firefox.run(
        """
        document.getElementById("train-steps").value = 60;
        const boxes = document.querySelectorAll("#train-rungs input");
        for (const box of boxes) box.checked = arguments[0].includes(box.value);
        document.getElementById("train-go").click();
        """,
        RUNGS_HERE,
    )
    said = ""
    for _ in range(240):
        said = firefox.run(
            "return ['train-note', 'train-said'].map((id) => document.getElementById(id).textContent).join('')"
        )
        if "Done in" in said:
            break
        time.sleep(0.5)
    assert "Done in" in said
    for name in RUNGS_HERE:
        found = firefox.run("return rungwise.losses(arguments[0]).join(' ')", name)
        expected = on_the_command_line(load("given-names"), "strict", RUNGS[name], 60, 0)["losses"]
        assert np.abs(np.array(found.split(), float) - expected).max() < allowed(name), name
