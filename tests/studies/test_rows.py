"""Tables that several processes fill, and what several seeds say together: no engine is started."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrcompress.errors import DatasetError, OutputError
from lrcompress.studies.rows import UNFINISHED, Job, RowFile, work_through

# Seconds: of threads that wait for each other for ever, not of a busy machine.
PATIENCE = 600


def row_file(folder: Path, **settings: Any) -> RowFile:
    """Return a table with one row a name."""
    head = {"schema_version": 1, "kind": "test", "settings": settings}
    return RowFile(folder / "rows.json", head, ("name",))


def job(name: str, work: Callable[[], None] = lambda: None, needs: str | None = None) -> Job:
    """Return work that ends in the row of that name."""

    def run(missing: frozenset[Any]) -> Iterator[dict[str, Any]]:
        work()
        yield {"name": name, "model": None}

    return Job(name, ((name,),), run, () if needs is None else ((needs,),))


def names(document: dict[str, Any]) -> list[str]:
    """Return which rows a document has."""
    return [row["name"] for row in document["rows"]]


def test_jobs_wait_for_what_they_need(tmp_path: Path) -> None:
    """Each job runs once, after those that it needs; a second call finds everything done."""
    done: list[str] = []
    jobs = [
        job("base", lambda: done.append("base")),
        job("top", lambda: done.append("top"), needs="base"),
    ]

    first = work_through(row_file(tmp_path), jobs)
    second = work_through(row_file(tmp_path), jobs)

    assert done == ["base", "top"]
    assert names(first) == names(second) == ["base", "top"]
    assert [path.name for path in tmp_path.iterdir()] == ["rows.json"]


def test_two_processes_share_the_rows(tmp_path: Path) -> None:
    """What one works on the other leaves alone; both end with the whole table."""
    both = threading.Barrier(2, timeout=PATIENCE)
    done: list[str] = []
    documents = []

    def worker(order: tuple[str, str]) -> None:
        def meet(name: str) -> None:
            # Neither goes on before the other is at work too: on another row.
            if len(done) < 2:
                both.wait()
            done.append(name)

        jobs = [job(name, lambda name=name: meet(name)) for name in order]  # type: ignore[misc]
        documents.append(work_through(row_file(tmp_path), jobs))

    threads = [threading.Thread(target=worker, args=(("a", "b"),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=PATIENCE)

    assert sorted(done) == ["a", "b"]
    assert [sorted(names(document)) for document in documents] == [["a", "b"]] * 2


def test_work_of_a_process_that_failed_is_taken_up(tmp_path: Path) -> None:
    """A job that another process gave up is done by the one that waited for it."""
    started, waiting = threading.Event(), threading.Event()
    done = []

    def fail() -> None:
        started.set()
        waiting.wait(timeout=PATIENCE)
        raise KeyboardInterrupt

    def first() -> None:
        with pytest.raises(KeyboardInterrupt):
            work_through(row_file(tmp_path), [job("a", fail)])

    thread = threading.Thread(target=first)
    thread.start()
    started.wait(timeout=PATIENCE)
    rows = row_file(tmp_path)
    with rows.claim("a", wait=False) as mine:
        assert not mine
    waiting.set()
    document = work_through(rows, [job("a", lambda: done.append("a"))])
    thread.join(timeout=PATIENCE)

    assert done == ["a"]
    assert names(document) == ["a"]


def test_a_row_whose_model_is_gone_is_worked_out_again(tmp_path: Path) -> None:
    """A row without a model stays; one whose model was deleted is missing."""
    rows = row_file(tmp_path)
    (tmp_path / "kept.keras").write_text("")
    rows.add({"name": "kept", "model": "kept.keras"})
    rows.add({"name": "none", "model": None})

    before = names(rows.read())
    (tmp_path / "kept.keras").unlink()
    after = names(rows.read())

    assert before == ["kept", "none"]
    assert after == ["none"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"kind": "test", "settings": {}, "rows": [{}]}',
     '{"kind": "other", "settings": {}, "rows": []}', '{"kind": "test", "settings": 3, "rows": []}'],
)  # fmt: skip
def test_documents_of_others_are_refused(tmp_path: Path, text: str) -> None:
    """A file that is no table of this kind is not overwritten."""
    (tmp_path / "rows.json").write_text(text)

    with pytest.raises(OutputError, match="move it away") as refused:
        row_file(tmp_path).add({"name": "a", "model": None})

    assert refused.value.code == "results_unreadable"
    assert (tmp_path / "rows.json").read_text() == text


def test_other_settings_are_refused(tmp_path: Path) -> None:
    """A folder holds rows of one kind of settings, and says which."""
    row_file(tmp_path, epochs=1).add({"name": "a", "model": None})

    with pytest.raises(OutputError, match=r"'epochs': 1.*'epochs': 2") as refused:
        row_file(tmp_path, epochs=2).read()

    assert refused.value.code == "results_differ"


def test_a_row_replaces_its_like(tmp_path: Path) -> None:
    """The same key is written once, the newest."""
    rows = row_file(tmp_path)
    rows.add({"name": "a", "model": None, "error": 1})
    rows.add({"name": "a", "model": None, "error": 2})

    assert json.loads(rows.path.read_text())["rows"] == [{"name": "a", "model": None, "error": 2}]
    assert not (tmp_path / UNFINISHED).exists()


@pytest.mark.parametrize("samples", [1, 7, 8, 9, 1000])
def test_predictions_are_packed_and_back(samples: int) -> None:
    """Which samples are wrong survives the row; another number of samples is refused."""
    from lrcompress.studies.summary import pack, unpack

    wrong = np.random.default_rng(samples).random(samples) < 0.3

    text = pack(wrong)

    np.testing.assert_array_equal(unpack(text, samples), wrong)
    for other in (samples + 8, max(samples - 8, 0)):
        with pytest.raises(DatasetError):
            unpack(text, other)
    with pytest.raises(DatasetError, match="not those of"):
        unpack("no base64", samples)


def bits(text: str) -> Any:
    """Return booleans from digits."""
    return np.array([digit == "1" for digit in text])


def test_mean_interval() -> None:
    """By hand: 1, 2, 3 have mean 2, s = 1, and t(0.975, 2) = 4.302653 gives 2 ± 2.484138."""
    from lrcompress.measure import mean_interval

    low, high, _ = mean_interval([1.0, 2.0, 3.0])

    assert high - 2 == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    assert 2 - low == pytest.approx(high - 2)


def test_one_seed_is_mcnemars_exact_test() -> None:
    """By hand: 1 against 5 discordant pairs have p = 2 (1 + 6) / 64."""
    from lrcompress.measure import paired_difference

    found = paired_difference([bits("1000001000")], [bits("0111111000")])

    assert (found["only_first_wrong"], found["only_second_wrong"]) == (1, 5)
    assert found["difference"] == pytest.approx(40)
    assert found["p_value"] == pytest.approx(14 / 64)
    assert found["interval"] == "paired"


def test_seeds_without_spread_count_as_one() -> None:
    """Copies of one seed are no more evidence than one: the exact test of one, and its interval."""
    from lrcompress.measure import paired_difference

    first, second = bits("1000001000"), bits("0111111000")

    once, copies = (paired_difference([first] * k, [second] * k) for k in (1, 3))

    for key in ("difference", "low", "high", "p_value", "interval"):
        assert copies[key] == once[key], key


def test_differences_over_seeds() -> None:
    """The interval is Student's, of the differences; the discordant pairs are summed."""
    from lrcompress.measure import paired_difference

    found = paired_difference(
        [bits("1000"), bits("1100"), bits("0000")], [bits("1100"), bits("1111"), bits("0111")]
    )

    # By hand: 25, 50 and 75 points: mean 50, s = 25.
    assert found["difference"] == pytest.approx(50)
    assert found["high"] - 50 == pytest.approx(4.302653 * 25 / 3**0.5, rel=1e-6)
    # t = 50 / (25 / sqrt 3) = 3.4641; with 2 degrees of freedom p = 1 - t / sqrt(t^2 + 2).
    assert found["p_value"] == pytest.approx(1 - 12**0.5 / 14**0.5, rel=1e-6)
    assert (found["only_first_wrong"], found["only_second_wrong"]) == (0, 6)
    assert (found["interval"], found["seeds"]) == ("t", 3)


def row(arm: str, rank: int | None, seed: int | None, wrong: str, **more: Any) -> dict[str, Any]:
    """Return a row of a comparison."""
    from lrcompress.studies.summary import pack

    errors = wrong.count("1")
    rate = 100 * errors / len(wrong)
    return {
        "arm": arm, "rank": rank, "seed": seed, "samples": len(wrong), "errors": errors,
        "error_rate": rate, "error_rate_low": rate / 2, "error_rate_high": 2 * rate,
        "loss": None, "seconds": 1.0, "images": 100, "model": None, "wrong": pack(bits(wrong)),
    } | more  # fmt: skip


def test_arms_are_paired_seed_by_seed() -> None:
    """Only seeds that both have are compared; a row of no seed serves every one."""
    from lrcompress.studies.summary import summarize_arms

    rows = [
        row("full", None, 0, "1000", images=10),
        row("full", None, 1, "0000", images=10),
        row("scratch", 2, 0, "1110"),
        row("finetuned", 2, 0, "1100", images=20),
        row("finetuned", 2, 1, "1000", images=20),
        row("finetuned", 2, 2, "1111", images=20),
    ]

    full, scratch, tuned = summarize_arms(rows)

    assert full["against_full"] is None
    assert tuned["against_full"]["seeds"] == 2
    assert tuned["against_full"]["difference"] == pytest.approx(25)
    assert tuned["against_scratch"]["difference"] == pytest.approx(-25)
    assert tuned["against_scratch"]["interval"] == "paired"
    assert tuned["seeds"] == [0, 1, 2]
    assert tuned["error_rate"] == pytest.approx(100 * (2 + 1 + 4) / 12)
    assert (tuned["images"], tuned["images_total"], scratch["images_total"]) == (20, 30, 100)
    assert (scratch["interval"], tuned["interval"]) == ("wilson", "t")

    given = summarize_arms([row("full", None, None, "1000"), *rows[3:5]])[1]
    assert given["against_full"]["difference"] == pytest.approx(12.5)
    assert given["against_full"]["seeds"] == 2
