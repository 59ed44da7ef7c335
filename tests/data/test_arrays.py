"""Samples in one array or in several under names."""

from __future__ import annotations

import numpy as np

from lrcompress.data.arrays import chunks, count, evenly, shuffled, take


def test_an_array_and_a_dictionary_of_it_are_handled_alike() -> None:
    """Counting and taking from a dictionary do to each array what they do to one."""
    x = np.arange(20).reshape(10, 2)
    both = {"a": x, "b": x[:, 0]}

    taken = take(both, np.array([3, 1]))

    assert count(x) == count(both) == 10
    assert isinstance(taken, dict)
    np.testing.assert_array_equal(taken["a"], x[[3, 1]])
    np.testing.assert_array_equal(taken["b"], [6, 2])


def test_chunks_put_together_are_the_whole() -> None:
    """Every sample is in one chunk, the last one being shorter."""
    both = {"a": np.arange(10), "b": np.arange(30).reshape(10, 3)}

    parts = [take(both, chunk) for chunk in chunks(10, 4)]

    assert [count(part) for part in parts] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([part["b"] for part in parts]), both["b"])


def test_evenly_spread_samples() -> None:
    """At most so many are taken, from all over; few samples are all taken."""
    x = np.arange(10)

    assert np.asarray(evenly(x, 3)).tolist() == [0, 3, 6]
    assert np.asarray(evenly(x, 7)).tolist() == [0, 1, 2, 4, 5, 7, 8]
    assert evenly(x, 10) is x


def test_samples_are_drawn_from_all_over() -> None:
    """In no order of the data, the same ones each time."""
    x = np.arange(1000)

    found = shuffled(x, 100)

    assert found.tolist() == shuffled({"a": x}, 100).tolist()
    assert len(set(found.tolist())) == 100
    assert found[:10].max() > 500
    assert sorted(shuffled(x, 5000).tolist()) == x.tolist()
