"""Secure means, against numpy."""

import collections

import numpy as np
import pytest
import tensorflow_federated as tff

from tff_vision.secure import hidden_vector

VALUE_TYPE = tff.types.to_type(collections.OrderedDict(a=tff.TensorType(np.float32, [2]), b=[np.float32]))


@pytest.fixture(name='process', scope='module')
def _process():
  summing = tff.aggregators.concat_factory(tff.aggregators.SumFactory())
  return hidden_vector.SecureMeanFactory(summing, largest_weight=50.0).create(VALUE_TYPE, tff.TensorType(np.float32))


def _update(*values):
  return collections.OrderedDict(a=np.float32(values[:2]), b=[np.float32(values[2])])


def test_weighted_mean_by_hand(tff_runtime, process):
  """Weights 10, 30 and 0; the third client's NaN has no weight."""
  updates = [_update(1, 2, 3), _update(-1, 0, 1), _update(np.nan, 0, 0)]
  result = process.next(process.initialize(), updates, [10.0, 30.0, 0.0]).result
  np.testing.assert_allclose(result['a'], [-0.5, 0.5], rtol=1e-6)
  np.testing.assert_allclose(result['b'], [1.5], rtol=1e-6)


def test_no_weight_leaves_the_model_alone(tff_runtime, process):
  result = process.next(process.initialize(), [_update(1, 2, 3)], [0.0]).result
  np.testing.assert_array_equal(result['a'], [0, 0])
  result = process.next(process.initialize(), [], []).result
  np.testing.assert_array_equal(result['b'], [0])


@pytest.mark.parametrize('weight', [50.1, -1.0, np.nan])
def test_illegal_weights_fail_the_round(tff_runtime, process, weight):
  with pytest.raises(Exception, match='weight lies outside 0..50'):
    process.next(process.initialize(), [_update(1, 2, 3)], [weight])
