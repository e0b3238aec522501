"""The bytes that a client receives and sends in a round, counted from what would cross the network.

What a transport adds (framing, TLS) is not counted, nor what a key agreement takes, nor the three numbers that a client
tells of its training in the clear; in a secure sum they are part of what is hidden, and count.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tff_vision import configs
from tff_vision.aggregation import codecs

_STEP_BYTES = 8  # Clipped updates are whole numbers of steps of a grid, in 64 bits.
_FLOAT_BYTES = 4
# Their server sends a control variate, or a momentum, as large as what is trained.
_SHOWN_BESIDE_THE_MODEL = ('scaffold', 'mime_lite')


def bytes_down(config: configs.ExperimentConfig, model: tf.keras.Model) -> int:
  """Returns what a client receives in a round: the model, and what else the algorithm shows it."""
  shown = model.trainable_weights if config.algorithm.algorithm in _SHOWN_BESIDE_THE_MODEL else []
  return sum(weight.shape.num_elements() * weight.dtype.size for weight in (*model.weights, *shown))


def bytes_up(config: configs.ExperimentConfig, secure_sum: Mapping[str, Any], *, length: int) -> int:
  """Returns what a client sends in a round: its update, where it weighs its weight, and what is hidden with them.

  Args:
    secure_sum: From `secured.describe`.
    length: Values of an update.
  """
  if secure_sum['mode'] != 'none':
    return sum(secure_sum['bytes_per_client'].values())
  privacy = config.privacy.privacy
  if privacy in ('none', 'example_dp_sgd'):
    return codecs.build_codec(config.aggregation, length).num_bytes() + _FLOAT_BYTES
  if privacy == 'local_dp':
    return length * _FLOAT_BYTES
  return (length + (privacy == 'client_adaptive')) * _STEP_BYTES
