"""Counts the bytes that a client receives and sends in a round.

Not counted: transport overhead (framing, TLS), key agreement, and the three numbers that a client reports in the clear
about its training. In a secure sum these numbers are part of the hidden vector, and are counted.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tff_vision import catalogue, configs
from tff_vision.aggregation import codecs

_STEP_BYTES = 8  # A clipped update is sent as 64-bit whole numbers of grid steps.
_FLOAT_BYTES = 4


def bytes_down(model: tf.keras.Model, shown: Sequence[tf.Tensor | tf.TensorSpec]) -> int:
  """Returns the bytes that a client receives in a round: the model, and other server state that the algorithm sends.

  Args:
    shown: Tensors of the server's state that are sent to clients, see `learning.algorithm.Algorithm.shown`.
  """
  return sum(tensor.shape.num_elements() * tensor.dtype.size for tensor in (*model.weights, *shown))


def bytes_up(config: configs.ExperimentConfig, secure_sum: Mapping[str, Any], *, length: int) -> int:
  """Returns the bytes that a client sends in a round: its update, its weight if used, and what is hidden with them.

  Args:
    secure_sum: The section from `secured.describe`.
    length: The number of values of an update.
  """
  if secure_sum['mode'] != 'none':
    return sum(secure_sum['bytes_per_client'].values())
  mechanism = catalogue.mechanisms.PRIVACIES.rows[config.privacy.privacy]
  if mechanism.payload == 'update':
    return codecs.build_codec(config.aggregation, length).num_bytes() + _FLOAT_BYTES
  return (length + mechanism.more_numbers) * {'floats': _FLOAT_BYTES, 'steps': _STEP_BYTES}[mechanism.payload]
