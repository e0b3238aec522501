"""Replaces BatchNorm by GroupNorm, so that clients with different data can train a network (Hsieh et al., ICML 2020).

Scale and shift are copied. The moving mean and variance have no counterpart, since GroupNorm computes its moments from
each image. So the converted network computes a different function and must be trained again.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tff_vision.models import local_norm, normalization


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
  """One layer that was replaced.

  Attributes:
    layer: Its name, which the new layer has too.
    channels: Number of channels that it normalises.
    groups: Number of groups of the new layer.
    carried: Names of the weights that were copied.
    dropped: Names of the weights that were not copied.
  """
  layer: str
  channels: int
  groups: int
  carried: Sequence[str]
  dropped: Sequence[str]


def to_group_norm(model: tf.keras.Model) -> tuple[tf.keras.Model, Sequence[Change]]:
  """Returns a copy of a functional or sequential model with GroupNorm in place of BatchNorm, and the changes.

  All other layers keep their names, settings and weights. Channels are divided into at most 32 groups of 8 or more.
  """
  changes: list[Change] = []
  made = tf.keras.models.clone_model(model, clone_function=_converted)
  _carry(model, made, changes)
  return made, changes


def _converted(layer):
  if isinstance(layer, tf.keras.Model):
    return tf.keras.models.clone_model(layer, clone_function=_converted)
  if not isinstance(layer, local_norm.BATCH_NORMALIZATION):
    return type(layer).from_config(layer.get_config())
  rank, axis = len(layer.input_shape), layer.axis[0]
  return tf.keras.layers.GroupNormalization(
      normalization.groups_of(layer.input_shape[axis]), axis=-1 if axis == rank - 1 else axis, epsilon=layer.epsilon,
      center=layer.center, scale=layer.scale, name=layer.name, trainable=layer.trainable)


def _carry(model, made, changes):
  """Copies weights layer by layer and records which layers were replaced."""
  for old, new in zip(model.layers, made.layers, strict=True):
    if isinstance(old, tf.keras.Model):
      _carry(old, new, changes)
    elif isinstance(old, local_norm.BATCH_NORMALIZATION):
      affine = [name for name, used in (('gamma', old.scale), ('beta', old.center)) if used]
      new.set_weights([np.asarray(getattr(old, name)) for name in affine])
      changes.append(Change(layer=old.name, channels=old.input_shape[old.axis[0]], groups=new.groups, carried=affine,
                            dropped=('moving_mean', 'moving_variance')))
    else:
      new.set_weights(old.get_weights())
