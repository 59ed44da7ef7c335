"""Inputs that a network's own BatchNormalization describes, for where there are no data.

Moving means and variances say what every layer saw in training. Here inputs are sought on which each
BatchNormalization sees just that (Cai et al. 2020, ZeroQ; Yin et al. 2020, DeepInversion). They stand in a layer
as its weight, before the network, and `fit` trains that weight alone, so every backend of Keras serves.

Images and series are sought by the amplitudes of their cosines (`cosines`), which needs a third of the steps that
pixels need, and no term for smoothness.
"""

from __future__ import annotations

from lrcompress.live.synthetic.inputs import Synthetic, synthetic_inputs

__all__ = ["Synthetic", "synthetic_inputs"]
