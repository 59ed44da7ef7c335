"""Both tables of the paper, every arm: what it trained from scratch, and what compressing gives.

    KERAS_BACKEND=jax python benchmarks/paper_tables.py --output DIR                   # a GPU
    python benchmarks/paper_tables.py --output DIR --only mnist --epochs 2             # a CPU, briefly
    python benchmarks/paper_tables.py --count                                          # only says how much it is

MNIST (Adam, 10 epochs) and CIFAR-100 (RMSprop, 50 epochs) at the published ranks, batch 32 as
published. DIR gets each row as it ends, and the state of a network in training after each epoch:
the same command goes on after a kill, and several at once share the rows. What docs/results.md is
made from goes to benchmarks/results/compare-<data set>.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import lrcompress
from lrcompress.cli.commands.compare import render
from lrcompress.records import ARMS

RESULTS = Path(__file__).parent / "results"
# Training images, epochs and low ranks as published.
PUBLISHED = {"mnist": (60_000, 10, 5), "cifar100": (50_000, 50, 6)}
# A tenth is held out of what fine-tuning sees, at most so many.
HELD_OUT = 5_000
BATCH, FINETUNE_BATCH = 32, 128
MINUTES = 25
# Not written into the results: folders of one machine.
OWN = ("--output", "--rows-from")


def work(name: str, epochs: int | None, extra: int, seeds: int) -> tuple[int, int]:
    """Return the training images of all arms of a table, as often as each is seen, and the steps."""
    samples, usual, ranks = PUBLISHED[name]
    scratch = seeds * (1 + ranks) * (epochs or usual) * samples
    tuned = seeds * (1 + ranks) * extra * (samples - min(samples // 10, HELD_OUT))
    return scratch + tuned, scratch // BATCH + tuned // FINETUNE_BATCH


def say_count(names: list[str], arguments: argparse.Namespace) -> None:
    """Say how much that is, and how fast it must go to take 25 minutes."""
    counts = {
        name: work(
            name, arguments.budget or arguments.epochs, arguments.finetune_epochs, arguments.seeds
        )
        for name in names
    }
    for name, (images, steps) in counts.items():
        print(f"{name}: {images:,} training images in {steps:,} steps")
    images, steps = (sum(each) for each in zip(*counts.values(), strict=True))
    seconds = 60 * MINUTES
    print(
        f"in all {images:,} images in {steps:,} steps: {images / seconds:,.0f} images/s, "
        f"{1000 * seconds / steps:.2f} ms a step, for {MINUTES} minutes "
        "(validation, testing and the methods that train nothing left out)"
    )


def command() -> list[str]:
    """Return this command without what belongs to one machine."""
    words, skip = ["python", "benchmarks/paper_tables.py"], False
    for word in sys.argv[1:]:
        own = word.split("=")[0] in OWN
        if not skip and not own:
            words.append(word)
        skip = own and "=" not in word
    return words


def run(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Fill one table and write its document."""
    from lrcompress.cli.console import show
    from lrcompress.cli.verb import following

    folder = arguments.output / f"compare-{name}"
    started = time.perf_counter()
    with following("paper-tables", quiet=False, verbose=False, command=command()):
        document = lrcompress.compare(
            dataset=name,
            ranks=arguments.ranks and [int(rank) for rank in arguments.ranks.split(",")],
            arms=arguments.arms and arguments.arms.split(","),
            seeds=arguments.seeds,
            seed=arguments.seed,
            epochs=arguments.epochs,
            budget=arguments.budget,
            finetune_epochs=arguments.finetune_epochs,
            rows_from=arguments.rows_from,
            output=folder,
        )
    seconds = time.perf_counter() - started
    # One document a call of this script: the folder's own may have been begun by another.
    document |= {"command": command(), "seconds_of_this_call": seconds}
    show(render(document))
    if not arguments.no_results:
        RESULTS.mkdir(exist_ok=True)
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        (RESULTS / f"compare-{name}.json").write_text(text, encoding="utf-8")
    return document


def main() -> None:
    """Fill both tables, or say how much that is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("paper-tables"), help="a folder")
    parser.add_argument("--only", choices=list(PUBLISHED))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--epochs", type=int, help="fewer than published, for a CPU")
    parser.add_argument("--budget", type=int, help="epochs in all, the same for every arm")
    parser.add_argument("--finetune-epochs", type=int, default=2)
    parser.add_argument("--ranks", help="default: the published ones")
    parser.add_argument("--arms", help=f"some of {','.join(ARMS)}; default: all")
    parser.add_argument("--rows-from", type=Path, action="append", default=[], metavar="DIR")
    parser.add_argument("--count", action="store_true", help="only say how much it is")
    parser.add_argument("--no-results", action="store_true", help="leave benchmarks/results alone")
    arguments = parser.parse_args()
    names = [arguments.only] if arguments.only else list(PUBLISHED)
    say_count(names, arguments)
    if not arguments.count:
        for name in names:
            run(name, arguments)


if __name__ == "__main__":
    main()
