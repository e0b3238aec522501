"""Marks the passes of training, forwards and backwards, which a device may compute in other ways than the rest.

The mark changes nothing by itself. `runtime.device.low_types` puts the products of marked passes into a type of 16 bits
(`RuntimeConfig.math`), and `runtime.device.compiling` has XLA compile the passes (`RuntimeConfig.jit`). Whatever is not
marked, such as norms, noise, counts and encryption, is computed as it is written.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2

_ATTRIBUTE = '_tff_vision_pass'  # TensorFlow passes on attributes that begin with an underscore.
_SCOPE = 'training_pass'
_IN_SCOPE = re.compile(rf'(^|/){_SCOPE}(_\d+)?/')


@contextlib.contextmanager
def training_pass() -> Iterator[None]:
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


def mark(node: Any) -> None:
  """Marks a node that a rewriting of a marked pass has added to a serialized graph."""
  node.attr[_ATTRIBUTE].b = True
