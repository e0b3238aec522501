"""Counts the bytes that a client receives and sends in a round.

What a transport adds (framing, TLS) is not counted, nor what a key agreement takes, nor the three numbers that a client
tells of its training in the clear; in a secure sum they are part of what is hidden, and count.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tff_vision import catalogue, configs
from tff_vision.aggregation import codecs

_STEP_BYTES = 8  # Clipped updates are whole numbers of steps of a grid, in 64 bits.
_FLOAT_BYTES = 4


def bytes_down(model: tf.keras.Model, shown: Sequence[tf.Tensor | tf.TensorSpec]) -> int:
  """Returns what a client receives in a round: the model, and what else the algorithm shows it.

  Args:
    shown: Tensors of the server's state that clients are shown, see `learning.algorithm.Algorithm.shown`.
  """
  return sum(tensor.shape.num_elements() * tensor.dtype.size for tensor in (*model.weights, *shown))


def bytes_up(config: configs.ExperimentConfig, secure_sum: Mapping[str, Any], *, length: int) -> int:
  """Returns what a client sends in a round: its update, where it weighs its weight, and what is hidden with them.

  Args:
    secure_sum: From `secured.describe`.
    length: Values of an update.
  """
  if secure_sum['mode'] != 'none':
    return sum(secure_sum['bytes_per_client'].values())
  mechanism = catalogue.mechanisms.PRIVACIES.rows[config.privacy.privacy]
  if mechanism.payload == 'update':
    return codecs.build_codec(config.aggregation, length).num_bytes() + _FLOAT_BYTES
  return (length + mechanism.more_numbers) * {'floats': _FLOAT_BYTES, 'steps': _STEP_BYTES}[mechanism.payload]
