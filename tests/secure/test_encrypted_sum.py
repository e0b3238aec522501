"""The sum of ciphertexts as TFF runs it."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.secure import fixed_point, os_keys
from tff_vision.secure.encryption import bfv, encrypted_sum, parameters

PARAMS = parameters.threshold_parameters(clients_max=5, value_bits=16, length=7, rounds=10)
RANGE = 2.0
ENCODING = fixed_point.Encoding(value_bits=16, value_range=RANGE)


def _updates(clients):
  rng = np.random.default_rng(clients)
  return [rng.uniform(-RANGE, RANGE, 7).astype(np.float32) for _ in range(clients)]


@pytest.fixture(name='process', scope='module')
def _process():
  return encrypted_sum.EncryptedSumFactory(PARAMS, ENCODING).create(tff.TensorType(np.float32, [7]))


@pytest.fixture(name='key', scope='module')
def _key():
  """(secret, public key) of one holder, who plays all parties."""
  a = bfv.reference_polynomial(PARAMS, tf.constant(5, tf.int64))
  secret, b = bfv.key_share(PARAMS, a, os_keys.kernel_key())
  return secret, encrypted_sum.key_state(np.stack([b, a]))


def test_the_hidden_sum_holds_the_plain_one(tff_runtime, process, key):
  secret, state = key
  for clients in (2, 5, 0):
    updates = _updates(clients)
    output = process.next(state, updates)
    np.testing.assert_array_equal(output.state['public_key'], state['public_key'])
    assert np.all(output.result == 0) and output.measurements.clients == clients
    total = tf.constant(output.measurements.total)
    share = bfv.decryption_share(PARAMS, 7, total[:, 1], secret[None], os_keys.kernel_keys(1))
    opened = ENCODING.decode(bfv.decrypt(PARAMS, total[:, 0], share, 7), tf.constant(clients))
    np.testing.assert_allclose(opened, np.sum(updates, axis=0) if clients else np.zeros(7),
                               atol=clients * ENCODING.step + 1e-6)


def test_the_order_and_the_parts_of_a_sum_do_not_matter(tff_runtime, process, key):
  """Five clients in calls of two: parts are merged as they are, and reduced at the end."""
  secret, state = key
  updates = [np.full(7, value, np.float32) for value in (-2, -1, 0, 1, 2)]
  with tff_runtime.limited(2):
    found = process.next(state, updates).measurements
  assert found.clients == 5
  total = tf.constant(found.total)
  assert 0 <= total.numpy().min() and np.all(total.numpy().max((0, 1, 3)) < PARAMS.primes)
  share = bfv.decryption_share(PARAMS, 7, total[:, 1], secret[None], os_keys.kernel_keys(1))
  opened = ENCODING.decode(bfv.decrypt(PARAMS, total[:, 0], share, 7), tf.constant(5))
  np.testing.assert_allclose(opened, np.zeros(7), atol=5 * ENCODING.step)


@pytest.mark.parametrize('updates, words', [
    ([[0] * 7, [0] * 6 + [np.nan]], 'NaN or infinity'), ([[0] * 7, [-2.1] + [0] * 6], 'beyond 2'),
    ([[0] * 7], 'cohort of one client'), ([[0] * 7] * 6, 'more than secure_clients_max=5 clients')])
def test_fails_closed(tff_runtime, process, key, updates, words):
  with pytest.raises(Exception, match=words):
    process.next(key[1], [np.float32(u) for u in updates])


def test_wrong_types_and_sizes_are_refused_when_built():
  factory = encrypted_sum.EncryptedSumFactory(PARAMS, ENCODING)
  with pytest.raises(TypeError, match='float32 vectors'):
    factory.create(tff.TensorType(np.int32, [3]))
  with pytest.raises(TypeError, match='concat_factory'):
    factory.create(tff.TensorType(np.float32, [3, 3]))
  with pytest.raises(ValueError, match='more than one message of 2 GB carries'):
    factory.create(tff.TensorType(np.float32, [400_000_000]))
