"""The page in a real browser."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
# A name that the page must not obey: it would show in the console.
PROBE = "<img src=x onerror=console.log('obeyed')>"
QUIET = [
    "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
    "--disable-background-networking", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND",
]  # fmt: skip
# Seconds: of a browser that has died, not of one on a busy machine.
PATIENCE = 600
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no chromium, chromium-browser or google-chrome here"
)


def test_nothing_goes_wrong_and_nothing_goes_out(
    run: Callable[..., Result], record: Path, attached: tuple[Path, Path], tmp_path: Path
) -> None:
    """Chromium draws the page, says nothing on its console and asks no other host for anything."""
    document = json.loads(record.read_text(encoding="utf-8"))
    document["warnings"] = [PROBE]
    record.write_text(json.dumps(document), encoding="utf-8")
    page, shot, log = (tmp_path / name for name in ("report.html", "shot.png", "net.json"))
    assert run("report", record, "--sweep", attached[0], "-o", page).exit_code == 0

    done = subprocess.run(
        [
            str(BROWSER), *QUIET,
            f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", f"--log-net-log={log}",
            "--window-size=390,3000", f"--screenshot={shot}", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr
    assert shot.read_bytes().startswith(b"\x89PNG")
    # The browser's own update services aside, which no page has asked for.
    asked = re.findall(
        r'"url":"([a-z]+://[^"]*)"', log.read_text(encoding="utf-8", errors="replace")
    )
    own = re.compile(r"https?://[a-z0-9.-]*\.(google|googleapis|gstatic|gvt1)\.com/")
    assert [url for url in asked if url.startswith("http") and not own.match(url)] == []


class Tab:
    """A page in a browser, told what to do through a pipe (Chrome's DevTools protocol)."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        """Open a tab."""
        self.to_browser, self.from_browser = to_browser, from_browser
        self.session: str | None = None
        self.events: list[dict[str, Any]] = []
        self._last, self._read = 0, b""
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self.session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        """Do one thing and return what the browser answers."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def wait_for(self, event: str) -> None:
        """Wait until the browser tells of an event."""
        while event not in [found["method"] for found in self.events]:
            self._next()

    def value(self, expression: str) -> Any:
        """Return what an expression is in the page."""
        return self("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get(
            "value"
        )

    def press(self, key: str, code: int) -> None:
        """Press a key and let it go."""
        for kind in ("rawKeyDown", "keyUp"):
            self("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            assert select.select([self.from_browser], [], [], PATIENCE)[0], (
                "the browser says nothing"
            )
            more = os.read(self.from_browser, 65536)
            assert more, "the browser has gone"
            self._read += more
        message, _, self._read = self._read.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        if "method" in found:
            self.events.append(found)
        return found


@contextmanager
def opened(folder: Path) -> Iterator[Tab]:
    """Give a tab of a browser of its own."""
    (there, to_browser), (from_browser, back) = os.pipe(), os.pipe()
    # A browser takes commands from descriptor 3 and answers on 4.
    words = [str(BROWSER), *QUIET, "--remote-debugging-pipe", f"--user-data-dir={folder}"]
    process = subprocess.Popen(
        ["/bin/bash", "-c", f'exec "$@" 3<&{there} 4>&{back}', "bash", *words],
        pass_fds=(there, back), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(there)
    os.close(back)
    try:
        yield Tab(to_browser, from_browser)
    finally:
        process.terminate()
        process.wait()
        os.close(to_browser)
        os.close(from_browser)


def test_the_slider_moves_the_words(
    run: Callable[..., Result], record: Path, attached: tuple[Path, Path], tmp_path: Path
) -> None:
    """Arrow keys and another method change rank, figures and what is read aloud; nothing goes wrong."""
    page = tmp_path / "report.html"
    assert run("report", record, "--sweep", attached[0], "-o", page).exit_code == 0
    said = "document.getElementById('explorer-said').textContent.replaceAll('\\xa0', ' ')"
    with opened(tmp_path / "profile") as tab:
        tab("Page.navigate", url=page.as_uri())
        tab.wait_for("Page.loadEventFired")

        assert tab.value("document.getElementById('explorer-whole').checkVisibility()")
        assert tab.value(said).startswith("Rank 2, the chosen one, svd: test error 10.00 %")
        tab.value("document.getElementById('explorer-rank').focus()")
        tab.press("ArrowRight", 39)
        assert tab.value(said).startswith("Rank 3, svd: test error 6.67 %")
        assert tab.value("document.getElementById('explorer-rank').ariaValueText") == "3"
        assert (
            tab.value("document.querySelector('#explorer-figures .big').textContent") == "6.67\xa0%"
        )
        tab.value("document.getElementById('explorer-method').focus()")
        tab.press("ArrowDown", 40)
        assert tab.value(said).startswith("Rank 3, refined: test error 6.67 %")
        tab("Emulation.setEmulatedMedia", media="print")
        assert not tab.value("document.getElementById('explorer-whole').checkVisibility()")

        wrong = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        assert [found for found in tab.events if found["method"] in wrong] == []
        asked = [found["params"]["request"]["url"] for found in tab.events
                 if found["method"] == "Network.requestWillBeSent"]  # fmt: skip
        assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
