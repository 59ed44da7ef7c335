"""How tables and figures call the arms of a comparison, ranks and seeds."""

from __future__ import annotations


def rank_name(rank: int | None) -> str:
    """Return a rank as tables write it."""
    return "full" if rank is None else str(rank)


def seeds_name(seeds: list[int]) -> str:
    """Return which seeds a table is of."""
    if not seeds:
        return "any seed"
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    in_a_row = len(seeds) == seeds[-1] - seeds[0] + 1
    return f"seeds {seeds[0]} to {seeds[-1]}" if in_a_row else f"seeds {', '.join(map(str, seeds))}"


def arm_names(extra: int) -> dict[str, str]:
    """Return how tables and figures call the arms; `extra` epochs are those of fine-tuning."""
    epochs = f"{extra} epoch" if extra == 1 else f"{extra} epochs"
    return {
        "full": "full rank",
        "full-finetuned": f"full rank + {epochs}",
        "svd": "SVD, nothing trained",
        "refined": "best head, nothing trained",
        "finetuned": f"SVD + {epochs}",
        "scratch": "from scratch",
    }
