"""Keras vision models, by name. Normalisation is GroupNorm or none: see `tff_vision.models.check`.

A builder takes `input_shape` (height, width, channels) and `num_classes`, and returns a Keras model of float32
logits [batch, num_classes].
"""

from collections.abc import Callable, Mapping

import tensorflow as tf

from tff_vision.models import cnn, scattering

ModelBuilder = Callable[[tuple[int, int, int], int], tf.keras.Model]

MODELS: Mapping[str, ModelBuilder] = {
    'mlp': cnn.build_mlp,
    'cnn': cnn.build_cnn,
    'cnn_dropout': cnn.build_cnn_dropout,
    'cnn_tanh': cnn.build_cnn_tanh,
    'scattering': scattering.build_scattering,
}
