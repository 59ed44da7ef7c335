"""Fewer dimensions for the heads of attention: in the scores between queries and keys, and in the values.

Scores are ``(x Q) (y K)^T``. With ``Rq^T Rq`` the second moment of the queries and ``Rk^T Rk`` that of
the keys, the singular values of ``Rq Rk^T`` are those of the scores, and its first singular vectors give
the r dimensions that keep most of them in the mean square.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lrcompress.lowrank.matrix import Array, Floats

# Of the largest; below it is rounding.
_LEAST = 1e-8
# Pulls the joint fit of all heads to what each would be by itself, as a share of the mean variance.
_RIDGE = 1e-6


def score_basis(query: Array, key: Array) -> tuple[Floats, Floats, Floats]:
    """Return the strength (k,) of each dimension of the scores, and what makes them of queries and of keys."""
    # Of second moments (k, k), of the keys less what all of a sequence share: softmax does not see it.
    from scipy.linalg import svd

    of_query, of_key = _root(query), _root(key)
    left, values, right = svd(of_query @ of_key.T)
    kept = values > _LEAST * values[0]
    scale = np.where(kept, 1 / np.sqrt(np.where(kept, values, 1)), 0)
    return values, of_key.T @ right.T * scale, of_query.T @ left * scale


def _root(moment: Array) -> Floats:
    """Return R with ``R^T R = M``, which need not have full rank."""
    from scipy.linalg import eigh

    values, vectors = eigh(moment)
    return np.asarray(np.sqrt(np.maximum(values, 0))[:, None] * vectors.T)


class ValueBasis(NamedTuple):
    """The dimensions of the values of each head, the one that matters most for the output first."""

    outputs: Floats  # what the heads make of their values, (heads, queries a head, v, n)
    moment: Floats  # covariance of the values at each query, both sides as the first three axes
    energy: Floats  # of each dimension, (heads, v)
    basis: Floats  # values to dimensions, (heads, v, v)
    inverse: Floats  # back, (heads, v, v)

    def narrowed(self, size: int) -> tuple[Floats, Floats]:
        """Return the output kernel for the first dimensions of each head, and what of `outputs` is lost."""
        from scipy.linalg import solve

        # Fitted for all heads together: where they attend to the same, one makes up for another.

        heads, each, width, n = self.outputs.shape
        made = np.zeros((heads, each, width, heads, each, size))
        for head in range(heads):
            for query in range(each):
                made[head, query, :, head, query] = self.basis[head][:, :size]
        down = made.reshape(heads * each * width, heads * each * size)
        alone = np.einsum("hsv,hqvn->hqsn", self.inverse[:, :size], self.outputs)
        target, found = self.outputs.reshape(-1, n), alone.reshape(-1, n)
        seen = down.T @ self.moment
        gram = seen @ down
        gram[np.diag_indices_from(gram)] += max(_RIDGE * np.trace(gram) / len(gram), 1e-300)
        found = found + solve(gram, seen @ (target - down @ found), assume_a="pos")
        lost = (target - down @ found).reshape(self.outputs.shape)
        return found.reshape(heads, each, size, n), lost

    def energy_of(self, kernel: Floats) -> float:
        """Return the mean square of what a kernel of the shape of `outputs` makes of the values."""
        flat = kernel.reshape(-1, kernel.shape[-1])
        return float(np.einsum("ij,ij->", flat, self.moment @ flat))


def value_basis(outputs: Array, moment: Array) -> ValueBasis:
    """Return the dimensions of the values of each head; see there for the arguments."""
    from scipy.linalg import eigh

    heads, each, width, _ = outputs.shape
    outputs = outputs.astype(np.float64)
    blocks = moment.reshape(heads, each, width, heads, each, width)
    found = []
    for head in range(heads):
        # Queries that share a value share its dimensions: one metric for all of them.
        metric = np.mean([blocks[head, q, :, head, q] for q in range(each)], axis=0)
        values, vectors = eigh(metric)
        values = np.sqrt(np.maximum(values, max(_LEAST * values[-1], 1e-300)))
        wide = (values[:, None] * vectors.T) @ np.concatenate(list(outputs[head]), axis=1)
        energy, basis = eigh(wide @ wide.T)
        basis = basis[:, ::-1]
        back = basis.T @ (values[:, None] * vectors.T)
        found.append((np.maximum(energy[::-1], 0), (vectors / values) @ basis, back))
    energies, bases, inverses = (np.stack(part) for part in zip(*found, strict=True))
    return ValueBasis(outputs, moment, energies, bases, inverses)
