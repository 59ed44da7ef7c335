"""The paper's question for one data set: compress a trained network, or train a small one?

    python paper_tables.py mnist          # the paper's MNIST table; hours on two cores
    python paper_tables.py cifar100       # the paper's CIFAR-100 table; a GPU is wanted
    python paper_tables.py --quick        # the bundled digits, one rank, a minute or two

Each row is saved as it ends, and the same command goes on after a kill. The data set is sought in
$LRCOMPRESS_DATA and in Keras' cache, then downloaded by Keras. Written to the current directory.
"""

from __future__ import annotations

import sys

import lrcompress

QUICK = "--quick" in sys.argv
DATASET = "digits" if QUICK else next(iter(sys.argv[1:]), "mnist")

# Five ways at each rank. With a budget every way that trains has the same epochs in all.
document = lrcompress.compare(
    dataset=DATASET,
    ranks=(2,) if QUICK else None,
    budget=4 if QUICK else None,
    finetune_epochs=1 if QUICK else 2,
    output=f"compare-{DATASET}",
)

print("way              rank   seeds   test error [95 %]        training images")
for entry in document["summary"]:
    low, high = entry["error_rate_low"], entry["error_rate_high"]
    print(
        f"{entry['arm']:16} {entry['rank'] or 'full':>4} {len(entry['seeds']):6}"
        f"   {entry['error_rate']:6.2f} % [{low:.2f}, {high:.2f}]   {entry['images_total']:12,.0f}"
    )
