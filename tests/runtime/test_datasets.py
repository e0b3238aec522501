"""Data sets above TFF's own limit reach an executor; those that TensorFlow never made are what it would have made."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff
from tensorflow.core.framework import graph_pb2
from tensorflow_federated.python.core.impl.executors import value_serialization

from tff_vision.data import one_element
from tff_vision.runtime import datasets

SPEC = collections.OrderedDict(seed=tf.TensorSpec((), tf.int64), x=tf.TensorSpec((None, 5, 4, 1), tf.float32),
                               y=tf.TensorSpec((None, 2), tf.uint8))


def _element(n):
  rng = np.random.default_rng(n)
  x = rng.random((2 * n, 5, 4, 1), np.float32)[::2]  # Not contiguous.
  return one_element.OneElement({'y': rng.integers(0, 2, (n, 2), np.uint8), 'x': x, 'seed': np.int64(2**62 + n)}, SPEC)


def test_a_silo_of_more_than_100_mb_is_serialized():
  size = 101 * 2 ** 20
  datasets.teach_tff()
  found = value_serialization._serialize_dataset(tf.data.Dataset.from_tensors(np.zeros(size, np.uint8)))
  assert len(found) > size


@pytest.mark.parametrize('n', [0, 1, 3])
def test_an_element_is_sent_as_tensorflow_would_send_its_data_set(n):
  variant = tf.data.experimental.to_variant(_element(n).dataset())
  graphs = [graph_pb2.GraphDef.FromString(found) for found in (
      _element(n).graph(), tf.raw_ops.DatasetToGraphV2(input_dataset=variant).numpy())]
  for graph in graphs:
    for node in graph.node:
      node.attr.pop('metadata', None)  # It counts the data sets of this process.
      if node.op == 'Const':  # TensorFlow writes some scalars in a field of their type.
        value = tf.make_ndarray(node.attr['value'].tensor)
        node.attr['value'].tensor.Clear()
        node.name += f'{value.dtype} {value.shape} {value.tobytes()}'
  assert graphs[0] == graphs[1]


def test_an_executor_finds_the_values(tff_runtime):
  @tff.tensorflow.computation(tff.SequenceType(tff.types.tensorflow_to_type(SPEC)))
  def sums(dataset):
    element = dataset.get_single_element()
    return element['seed'], tf.reduce_sum(element['x']), tf.shape(element['y'])

  for n in (4, 0, 2):
    seed, total, shape = sums(_element(n))
    assert (seed, tuple(shape)) == (2**62 + n, (n, 2))
    np.testing.assert_allclose(total, _element(n).values['x'].sum(), rtol=1e-6)


def test_an_element_of_another_type_is_refused():
  datasets.teach_tff()
  other = tff.SequenceType(tff.types.tensorflow_to_type(SPEC | {'x': tf.TensorSpec((None, 5, 5, 1), tf.float32)}))
  with pytest.raises(TypeError):
    value_serialization.serialize_value(_element(1), other)
