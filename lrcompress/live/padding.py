"""Old names of `predict`, until the rooms above use the new ones."""

from lrcompress.live.predict import Mask, left_out, masked_weights, masks_of, packed, spread

__all__ = ["Mask", "left_out", "masked_weights", "masks_of", "packed", "spread"]
