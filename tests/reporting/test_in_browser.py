"""The page in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
# A name that the page must not obey: it would show in the console.
PROBE = "<img src=x onerror=console.log('obeyed')>"


@pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome here")
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
            str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--disable-background-networking", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", f"--log-net-log={log}",
            "--window-size=390,3000", f"--screenshot={shot}", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr
    assert shot.read_bytes().startswith(b"\x89PNG")
    # The browser's own update services aside, which no page has asked for.
    asked = re.findall(r'"url":"([a-z]+://[^"]*)"', log.read_text(encoding="utf-8", errors="replace"))
    own = re.compile(r"https?://[a-z0-9.-]*\.(google|googleapis|gstatic|gvt1)\.com/")
    assert [url for url in asked if url.startswith("http") and not own.match(url)] == []
