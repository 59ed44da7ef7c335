"""Inputs that a network's own BatchNormalization describes, for where there are no data.

Moving means and variances say what every layer saw in training. Here inputs are sought on which each
BatchNormalization sees just that (Cai et al. 2020, ZeroQ; Yin et al. 2020, DeepInversion). They stand in a layer
as its weight, before the network, and `fit` trains that weight alone, so every backend of Keras serves.
"""

from __future__ import annotations

from lrcompress.live.synthetic.inputs import Synthetic as Synthetic
from lrcompress.live.synthetic.inputs import synthetic_inputs as synthetic_inputs
