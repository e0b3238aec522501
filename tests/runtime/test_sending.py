"""What executors are sent is what TFF and TensorFlow would send; data sets above TFF's limit are sent at all."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff
from tensorflow.core.framework import graph_pb2
from tensorflow_federated.python.core.impl.executors import value_serialization

from tff_vision.data import one_element
from tff_vision.runtime.tff_internals import sending

SPEC = collections.OrderedDict(seed=tf.TensorSpec((), tf.int64), x=tf.TensorSpec((None, 5, 4, 1), tf.float32),
                               y=tf.TensorSpec((None, 2), tf.uint8))


def _element(n):
  rng = np.random.default_rng(n)
  x = rng.random((2 * n, 5, 4, 1), np.float32)[::2]  # Not contiguous.
  return one_element.OneElement({'y': rng.integers(0, 2, (n, 2), np.uint8), 'x': x, 'seed': np.int64(2**62 + n)}, SPEC)


def test_a_silo_of_more_than_100_mb_is_serialized():
  size = 101 * 2 ** 20
  sending.teach_tff()
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


KIND = tff.to_type(collections.OrderedDict(
    named=collections.OrderedDict(b=np.int32, a=tff.TensorType(np.float32, (None, 2))),
    tuple=((), np.str_, tff.TensorType(np.bool_, (3,)), tff.TensorType(np.float32, (0, 4))),
    server=tff.FederatedType((np.float64, [tff.TensorType(np.uint8, (2,))]), tff.SERVER),
    clients=tff.FederatedType((np.int64, tff.TensorType(np.str_, (2,))), tff.CLIENTS)))


def test_structures_are_sent_as_tff_would_send_them(monkeypatch):
  rows = np.arange(12, dtype=np.float32).reshape(2, 6).T  # Not contiguous.
  value = collections.OrderedDict(
      named={'b': 3, 'a': rows}, tuple=[(), 'text', np.array([True, False, True]), np.zeros((0, 4), np.float32)],
      server=(0.5, [[7, 8]]), clients=[(np.int64(client), np.array(['text', ''], object)) for client in range(3)])
  found, kind = sending.serialize_value(value, KIND)
  monkeypatch.setattr(value_serialization, 'serialize_value', sending._of_tff)
  assert (found, kind) == sending._of_tff(value, KIND)
  back, _ = value_serialization.deserialize_value(found, KIND)
  np.testing.assert_array_equal(back[0][1], rows)


@pytest.mark.parametrize('value, kind', [
    ((1,), (np.int32, np.int32)), (1, (np.int32,)), (1, tff.FederatedType(np.int32, tff.CLIENTS)),
    ((np.zeros((3, 2), np.float32),), (tff.TensorType(np.float32, (2, 2)),)),
    ((np.zeros(2, np.float64),), (tff.TensorType(np.float32, (2,)),))])
def test_a_value_of_another_type_is_refused(monkeypatch, value, kind):
  with pytest.raises(TypeError):
    sending.serialize_value(value, tff.to_type(kind))
  monkeypatch.setattr(value_serialization, 'serialize_value', sending._of_tff)
  with pytest.raises(TypeError):
    sending._of_tff(value, tff.to_type(kind))


def test_an_element_of_another_type_is_refused():
  sending.teach_tff()
  other = tff.SequenceType(tff.types.tensorflow_to_type(SPEC | {'x': tf.TensorSpec((None, 5, 5, 1), tf.float32)}))
  with pytest.raises(TypeError):
    value_serialization.serialize_value(_element(1), other)
