"""A `tf.data` data set of one element, made directly as the bytes that executors receive.

TensorFlow needs half a millisecond on the driver to make a client's data set, and more time to serialise it. With a
hundred clients a round this is a tenth of the round, and no client computes in that time. The serialised data sets of
different clients differ only in numbers. So one is made once as a template, and each client's numbers are put into it.
"""

import collections
import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2


@dataclasses.dataclass(frozen=True)
class OneElement:
  """Replaces `tf.data.Dataset.from_tensors(values)` where a TFF computation takes a data set.

  `tff_vision.runtime.tff_internals.sending` makes TFF accept it. It holds the arrays themselves, no copies of them.

  Attributes:
    values: Numeric arrays in the order of the element.
    spec: The types that all such elements have in common; dimensions that may differ are None.
  """
  values: Mapping[str, np.ndarray]
  spec: Mapping[str, tf.TensorSpec]

  def graph(self) -> bytes:
    """Returns the bytes that `tf.raw_ops.DatasetToGraphV2` gives for the data set."""
    specs = tuple((name, spec.dtype.name, spec.shape.rank) for name, spec in self.spec.items())
    return _fill(_template(specs), [self.values[name] for name in self.spec])

  def dataset(self) -> tf.data.Dataset:
    """Returns the data set itself."""
    element = collections.OrderedDict((name, self.values[name]) for name in self.spec)
    return tf.data.Dataset.from_tensors(element).with_options(options())


@functools.lru_cache(16)
def _template(specs):
  """Returns the graph of a data set whose element has these names, types and ranks, but no values."""
  values = {name: np.zeros([0] * rank, tf.as_dtype(dtype).as_numpy_dtype) for name, dtype, rank in specs}
  like = {name: tf.TensorSpec([None] * rank, dtype) for name, dtype, rank in specs}
  variant = tf.data.experimental.to_variant(OneElement(values, like).dataset())
  return graph_pb2.GraphDef.FromString(tf.raw_ops.DatasetToGraphV2(input_dataset=variant).numpy())


def _fill(template, values):
  graph = graph_pb2.GraphDef()
  graph.CopyFrom(template)
  constants = {node.name: node.attr['value'].tensor for node in graph.node if node.op == 'Const'}
  maker = next(node for node in graph.node if node.op == 'TensorDataset')
  shapes = [tf.TensorShape(value.shape).as_proto() for value in values]
  for name, value, shape in zip(maker.input, values, shapes, strict=True):
    tensor = constants[name]
    dtype = tensor.dtype
    tensor.Clear()
    tensor.dtype = dtype
    tensor.tensor_shape.CopyFrom(shape)
    tensor.tensor_content = value.tobytes()
  for node in graph.node:
    if 'output_shapes' in node.attr:
      kept = node.attr['output_shapes'].list
      del kept.shape[:]
      kept.shape.extend(shapes)
  return graph.SerializeToString()


@functools.cache
def options() -> tf.data.Options:
  """Returns options for a data set that is small and lives for one call.

  Tuning the data set, rewriting its graph and starting threads for it cost more time than they save.
  """
  made = tf.data.Options()
  made.autotune.enabled = False
  made.experimental_optimization.apply_default_optimizations = False
  made.threading.private_threadpool_size = 1
  made.deterministic = True
  return made
