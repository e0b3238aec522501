"""Keras vision models, by name. Normalisation is GroupNorm or none: see `tff_vision.models.check`.

A builder takes `input_shape` (height, width, channels) and `num_classes`, and returns a Keras model of float32
logits [batch, num_classes].
"""

from collections.abc import Callable, Mapping

import tensorflow as tf

from tff_vision.models import autoencoder, cnn, mobilenet, resnet, scattering, vit

ModelBuilder = Callable[[tuple[int, int, int], int], tf.keras.Model]

MODELS: Mapping[str, ModelBuilder] = {
    'autoencoder': autoencoder.build,
    'linear': cnn.build_linear,
    'mlp': cnn.build_mlp,
    'cnn': cnn.build_cnn,
    'cnn_dropout': cnn.build_cnn_dropout,
    'resnet18_gn': resnet.build_resnet18,
    'resnet20_gn': resnet.build_resnet20,
    'mobilenet_v3_small': mobilenet.build,
    'vit_tiny': vit.build,
    'cnn_tanh': cnn.build_cnn_tanh,
    'scattering': scattering.build_scattering,
}
