"""Marks the passes of training whose products a device may compute in a type of 16 bits (`RuntimeConfig.math`).

The mark changes nothing by itself: `runtime.device.low_types` reads it. Whatever is not marked, such as norms, noise,
counts and encryption, keeps its type.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2

_ATTRIBUTE = '_tff_vision_low'  # TensorFlow passes on attributes that begin with an underscore.
_SCOPE = 'low_products'
_IN_SCOPE = re.compile(rf'(^|/){_SCOPE}(_\d+)?/')


@contextlib.contextmanager
def may_be_low() -> Iterator[None]:
  """Marks the operations that are made in the `with` block, also those of functions that are called in it.

  An operation of the present graph has an attribute, so that it is not taken for an equal one without the mark. When
  a called function is put in the place of its call, its operations have the name of the call before their own; an equal
  operation outside may be computed together with them.
  """
  # Not public API: `tf.xla.experimental.jit_scope` sets attributes in this way.
  with tf.compat.v1.get_default_graph()._attr_scope({_ATTRIBUTE: attr_value_pb2.AttrValue(b=True)}):
    with tf.name_scope(_SCOPE):
      yield


def is_marked(node: Any) -> bool:
  """Returns whether a node of a serialized graph is marked."""
  return _ATTRIBUTE in node.attr or bool(_IN_SCOPE.search(node.name))
