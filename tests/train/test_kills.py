"""Twenty kills at random points: `python -m pytest -m slow tests/train/test_kills.py`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lrcompress
from lrcompress.records import runs

pytestmark = [
    pytest.mark.keras,
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks of one process"),
]

KILLS = 20
EPOCHS = 40
STEPS = 80  # an epoch of digits

# Each run is a fork that has loaded Keras and computed nothing. It kills itself some milliseconds
# after its so many-th step: in a step, a look at the validation part, or a write of its state.
DRIVER = """
import json, os, signal, sys, threading, time
import lrcompress
from lrcompress.events import listening
from lrcompress.train import finetune

def run(job):
    seen = 0
    def die():
        time.sleep(job["delay"])
        os.kill(os.getpid(), signal.SIGKILL)
    def progress(task, done, total, figures):
        nonlocal seen
        seen += task.startswith("fine-tuning")
        if seen == job["step"] and task.startswith("fine-tuning"):
            threading.Thread(target=die).start()
    with listening(progress):
        lrcompress.finetune("small.keras", epochs=job["epochs"], output=job["output"], resume=True)

for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        run(job)
        os._exit(0)
    print(json.dumps(os.waitpid(child, 0)[1]), flush=True)
"""


def test_twenty_kills_change_nothing(examples: Path, tmp_path: Path) -> None:
    """After every kill all files can be read; the end is bit by bit that of an unbroken run."""
    shutil.copy(examples / "digits_cnn.keras", tmp_path / "model.keras")
    lrcompress.factorize(tmp_path / "model.keras", rank=3, output=tmp_path / "small.keras")
    rng = np.random.default_rng(0)
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER], cwd=tmp_path, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as driver:  # fmt: skip

        def ended(output: str, step: int = 0, delay: float = 0.0) -> int:
            """Run once, killed after a step if that is not 0; return the status it ended with."""
            assert driver.stdin is not None
            assert driver.stdout is not None
            job = {"output": output, "step": step, "delay": delay, "epochs": EPOCHS}
            driver.stdin.write(json.dumps(job) + "\n")
            driver.stdin.flush()
            return int(json.loads(driver.stdout.readline()))

        assert ended("whole.keras") == 0
        epochs = []
        for kill in range(KILLS):
            # Half of them at the end of an epoch, where the state is written.
            step = STEPS * int(rng.integers(1, 3)) if kill % 2 else int(rng.integers(1, 2 * STEPS))
            assert ended("killed.keras", step, float(rng.uniform(0, 0.2))) == 9
            runs.read(tmp_path / "small.lrcompress.json")
            lrcompress.inspect(tmp_path / "whole.keras")
            assert not (tmp_path / "killed.keras").exists()
            state = tmp_path / "killed.checkpoint.npz"
            if state.exists():
                with np.load(state) as archive:
                    assert all(np.isfinite(archive[name]).all() for name in archive.files[:-1])
                    epochs.append(json.loads(str(archive["header"]))["epoch"])
        assert ended("killed.keras") == 0
        driver.stdin.close()  # type: ignore[union-attr]

    history = runs.read(tmp_path / "small.lrcompress.json").document["finetune"]
    assert epochs == sorted(epochs)
    assert 5 < epochs[-1] == history[1]["resumed_from"] < EPOCHS
    assert history[0]["history"] == history[1]["history"]
    assert (tmp_path / "killed.keras").exists()
    from lrcompress.live.storing import load_model

    whole, killed = (load_model(tmp_path / f"{name}.keras") for name in ("whole", "killed"))
    assert all(map(np.array_equal, whole.get_weights(), killed.get_weights()))
    assert not list(tmp_path.glob(".*partial*")) + list(tmp_path.glob("*.checkpoint.npz"))
