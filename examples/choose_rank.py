"""Choosing the rank: by the spectrum, by what is saved, and by what is lost on data held out.

    python choose_rank.py                             # the bundled model and digits, half a minute
    python choose_rank.py model.keras mnist           # a model file and its data set

Files are written to the current directory: a sweep, its figure, and a report with both.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import lrcompress

if len(sys.argv) > 2:
    MODEL, DATASET = Path(sys.argv[1]), sys.argv[2]
else:
    MODEL, DATASET = Path(__file__).with_name("digits_cnn.keras"), "digits"
# Points of error on held-out data that a smaller model may cost.
MAX_DROP = 1.0

# 1. Without data: energy says how much of the kernel a rank keeps, not what the model loses by it.
head = lrcompress.inspect(MODEL)["head"]
for share, rank in head["energy_ranks"].items():
    print(f"energy {100 * float(share):.0f} % from rank {rank} on")
print(f"ranks up to {head['break_even_rank']} save parameters")

# 2. With data: every rank, by the literal truncated SVD and by what the inputs look like.
sweep = lrcompress.sweep(MODEL, method=("svd", "refined"), dataset=DATASET)
Path("sweep.json").write_text(json.dumps(sweep.to_json()), encoding="utf-8")
print("method   rank   layer saved   held-out error   test error")
for row in sweep.rows:
    print(
        f"{row['method']:8} {row['rank']:4} {100 * row['layer_reduction']:12.1f} %"
        f"{row['held_out_error_rate']:14.2f} % {row['error_rate']:10.2f} %"
    )

# 3. The rule does the same in one call: the smallest rank that loses no more than that on inputs
#    that were held out. The test data choose nothing; they are there to be reported.
result = lrcompress.factorize(
    MODEL, max_drop=MAX_DROP, dataset=DATASET, output="chosen.keras", overwrite=True
)
print(result.layers[0].choice.message)
print(f"test error {result.error_rate_before:.2f} % -> {result.error_rate_after:.2f} %")

# 4. Something to look at: the errors of every rank beside the one that was chosen.
lrcompress.report(
    result.record, sweep="sweep.json", output="report.html", plots="figures", overwrite=True
)
print("wrote report.html and figures/")
