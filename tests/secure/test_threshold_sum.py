"""The encrypted sum as TFF runs it, under the factories and processes that it was made for."""

import numpy as np
import pytest
import tensorflow_federated as tff

from tff_vision.secure import fixed_point, parameters, threshold_sum

PARAMS = parameters.threshold_parameters(clients_max=5, value_bits=16)
RANGE = 2.0
ENCODING = fixed_point.Encoding(value_bits=16, value_range=RANGE)


def _updates(clients):
  rng = np.random.default_rng(clients)
  return [rng.uniform(-RANGE, RANGE, 7).astype(np.float32) for _ in range(clients)]


@pytest.fixture(name='process', scope='module')
def _process():
  return threshold_sum.ThresholdSumFactory(PARAMS, ENCODING).create(tff.TensorType(np.float32, [7]))


def test_sum_equals_the_plain_one(tff_runtime, process):
  state = process.initialize()
  for clients in (2, 5, 0):
    updates = _updates(clients)
    output = process.next(state, updates)
    state = output.state
    bound = clients * RANGE / PARAMS.offset + 1e-6
    np.testing.assert_allclose(output.result, np.sum(updates, axis=0) if clients else np.zeros(7), atol=bound)
  assert state == 3


@pytest.mark.parametrize('updates, words', [
    ([[0] * 7, [0] * 6 + [np.nan]], 'NaN or infinity'), ([[0] * 7, [-2.1] + [0] * 6], 'beyond 2'),
    ([[0] * 7], 'cohort of one client'), ([[0] * 7] * 6, 'more than secure_clients_max=5 clients')])
def test_fails_closed(tff_runtime, process, updates, words):
  with pytest.raises(Exception, match=words):
    process.next(process.initialize(), [np.float32(u) for u in updates])


def test_wrong_types_and_sizes_are_refused_when_built():
  factory = threshold_sum.ThresholdSumFactory(PARAMS, ENCODING)
  with pytest.raises(TypeError, match='float32 vectors'):
    factory.create(tff.TensorType(np.int32, [3]))
  with pytest.raises(TypeError, match='concat_factory'):
    factory.create(tff.TensorType(np.float32, [3, 3]))
  with pytest.raises(ValueError, match='more than one message of 2 GB carries'):
    factory.create(tff.TensorType(np.float32, [400_000_000]))
