"""One process of `svd_peers.py`: reads jobs as lines of JSON, answers each with one line.

Started as `python benchmarks/svd_worker.py WORLD`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_info

Matrix = NDArray[np.float32]
# U, s and V^T, at least of the rank.
Found = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
# From A, the rank and the iterations (None: the default); lrcompress and the product return other
# things than U, s and V^T.
Peer = Callable[[Matrix, int, int | None], Any]
# Entries beyond which a peer is left out, and why.
TOO_LARGE = {
    "numpy_gesdd": (10**8, "not run: a full SVD, minutes expected"),
    "scipy_gesdd": (10**7, "not run: the driver of NumPy's"),
    "scipy_svds": (10**8, "not run: products with one vector at a time, minutes expected"),
    "tensorflow_svd": (3 * 10**7, "not run: a full SVD, minutes expected"),
}


def numpy_world() -> dict[str, Peer]:
    """Return what is computed with NumPy's and SciPy's BLAS."""
    import fbpca
    import scipy.linalg
    from scipy.sparse.linalg import svds
    from sklearn.utils.extmath import randomized_svd

    from lrcompress.lowrank import truncated_svd

    def sklearn(a: Matrix, rank: int, iterations: int | None) -> Found:
        return randomized_svd(a, rank, n_iter=iterations or "auto", random_state=0)

    def pca(a: Matrix, rank: int, iterations: int | None) -> Found:
        np.random.seed(0)
        return fbpca.pca(a, k=rank, raw=True, n_iter=iterations or 2)

    return {
        "gram_product": lambda a, *_: a.T @ a if a.shape[0] >= a.shape[1] else a @ a.T,
        "lrcompress": lambda a, rank, _: truncated_svd(a, rank),
        "numpy_gesdd": lambda a, *_: np.linalg.svd(a, full_matrices=False),
        "scipy_gesdd": lambda a, *_: scipy.linalg.svd(a, full_matrices=False),
        "scipy_svds": lambda a, rank, _: svds(a, k=rank, rng=np.random.default_rng(0)),
        "sklearn_randomized_svd": sklearn,
        "fbpca": pca,
    }


def torch_world() -> dict[str, Peer]:
    """Return PyTorch's low-rank SVD."""
    import torch

    def lowrank(a: Matrix, rank: int, iterations: int | None) -> Found:
        torch.manual_seed(0)
        u, s, v = torch.svd_lowrank(torch.from_numpy(a), q=rank, niter=iterations or 2)
        return u.numpy(), s.numpy(), v.numpy().T

    return {"torch_svd_lowrank": lowrank}


def tensorflow_world() -> dict[str, Peer]:
    """Return TensorFlow's SVD, which is of full rank."""
    import tensorflow as tf

    def full(a: Matrix, *_: object) -> Found:
        s, u, v = tf.linalg.svd(tf.constant(a))
        return u.numpy(), s.numpy(), v.numpy().T

    return {"tensorflow_svd": full}


WORLDS = {"numpy": numpy_world, "torch": torch_world, "tensorflow": tensorflow_world}


def error_of(kernel: Matrix, B: NDArray[Any], C: NDArray[Any]) -> float:
    """Return ``||A - B C||_F``, block by block, its squares summed in float64."""
    total = 0.0
    for start in range(0, len(kernel), 1024):
        rows = slice(start, start + 1024)
        total += float(np.square(kernel[rows] - B[rows] @ C).sum(dtype=np.float64))
    return float(np.sqrt(total))


def busy_seconds() -> float:
    """Return the CPU seconds that all programs have used since the start of the machine."""
    with Path("/proc/stat").open() as file:
        fields = [int(word) for word in file.readline().split()[1:9]]
    # user, nice, system, irq, softirq, steal; not idle and iowait.
    return (sum(fields[:3]) + sum(fields[5:8])) / os.sysconf("SC_CLK_TCK")


def run(peer: str, call: Peer, kernel: Matrix, rank: int, iterations: int | None) -> dict[str, Any]:
    """Return the seconds of one call, the error of what it found, and the cores others used."""
    limit, reason = TOO_LARGE.get(peer, (kernel.size, ""))
    if kernel.size > limit:
        return {"skipped": reason}
    busy, own, started = busy_seconds(), time.process_time(), time.perf_counter()
    found = call(kernel, rank, iterations)
    answer: dict[str, Any] = {
        "seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - own
    }  # fmt: skip
    if peer == "lrcompress":
        certificate = found.certificate
        answer["algorithm"] = certificate.algorithm
        answer["certified_optimality"] = certificate.optimality
        answer["error"] = error_of(kernel, found.B, found.C)
    elif peer != "gram_product":
        u, s, vt = (np.asarray(part) for part in found)
        leading = np.argsort(-s)[:rank]
        answer["error"] = error_of(kernel, u[:, leading] * s[leading], vt[leading])
    others = busy_seconds() - busy - (time.process_time() - own)
    answer["others"] = round(max(others / (time.perf_counter() - started), 0.0), 2)
    return answer


def main(world: str) -> None:
    """Serve jobs until the input ends."""
    # What the libraries print must not stand between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    peers = WORLDS[world]()
    kernel = np.random.default_rng(0).standard_normal((300, 200)).astype(np.float32)
    for call in peers.values():
        call(kernel, 20, None)
    names = {"numpy": ("numpy", "scipy", "scikit-learn", "fbpca")}.get(world, (world,))
    # Which BLAS, for which processor, with how many threads.
    pools = [
        {key: pool.get(key) for key in ("internal_api", "version", "architecture", "num_threads")}
        for pool in threadpool_info()
    ]
    print(
        json.dumps({"versions": {name: version(name) for name in names}, "pools": pools}),
        file=answers, flush=True,
    )  # fmt: skip
    for line in sys.stdin:
        job = json.loads(line)
        if "load" in job:
            kernel, answer = np.load(job["load"]), {}
        else:
            answer = run(job["peer"], peers[job["peer"]], kernel, job["rank"], job["iterations"])
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
