"""Keys of a round over two worker processes, driven through handles."""

import numpy as np
import pytest
import tensorflow as tf

from tests.secure import silos
from tff_vision.runtime.tff_internals import handles
from tff_vision.secure import fixed_point
from tff_vision.secure.encryption import bfv, encrypted_sum, joint_key, parameters, ring

LENGTH = 20
PARAMS = parameters.threshold_parameters(clients_max=3, value_bits=16, length=20, rounds=10)
ENCODING = fixed_point.Encoding(value_bits=16, value_range=4.0)


@pytest.fixture(name='place', scope='module')
def _place():
  with silos.running(2) as (one, two):
    yield [handles.Party(i, silo) for i, silo in enumerate([one, two, one])], (one, two)


def _encrypted(key, updates):
  total = 0
  for update in updates:
    total = ring.add(total, encrypted_sum.encrypt_values(PARAMS, ENCODING, tf.constant(update), key.public),
                     PARAMS.primes)
  return total.numpy()


def test_all_together_open_the_sum_and_what_left_their_workers(place):
  parties, (one, two) = place
  updates = np.random.default_rng(0).uniform(-4, 4, [3, LENGTH]).astype(np.float32)
  keys = joint_key.JointKeys(PARAMS, ENCODING)
  publics = set()
  for clients in (3, 2):  # Every holder of a key is needed, also where fewer updates are in the sum.
    key = keys.make(parties)
    publics.add(key.public.tobytes())
    opened = key.open_sum(_encrypted(key, updates[:clients]), clients, LENGTH)
    np.testing.assert_allclose(opened, updates[:clients].sum(0), atol=3 * ENCODING.step + 1e-5)
  assert len(publics) == 2
  # Of secrets, one polynomial of trits each, nothing was fetched: a sum of public shares, and one of shares, a worker.
  polynomials, _, primes, _ = bfv.ciphertext_shape(PARAMS, LENGTH)
  shapes = [np.shape(value) for silo in (one, two) for value in silo.fetched]
  of_key, of_sum = (primes, PARAMS.degree), (polynomials, primes, PARAMS.degree)
  assert sorted(shapes) == sorted([of_key] * 2 * 2 + [of_sum] * 2 * 2)
  assert all(np.asarray(value).dtype == np.int32 for silo in (one, two) for value in silo.fetched)


def test_long_vectors_are_opened_in_pieces(place):
  """Two clients of one worker and one of another; the last piece is shorter."""
  parties, _ = place
  length = 35 * PARAMS.values_per_coefficient * PARAMS.degree - 1
  pieces = bfv.pieces(PARAMS, length)
  assert [piece.stop - piece.start for piece in pieces] == [24, 12] and pieces[0].stop == pieces[1].start == 24
  key = joint_key.JointKeys(PARAMS, ENCODING).make(parties)
  updates = np.random.default_rng(1).uniform(-4, 4, [3, length]).astype(np.float32)
  np.testing.assert_allclose(key.open_sum(_encrypted(key, updates), 3, length), updates.sum(0),
                             atol=3 * ENCODING.step + 1e-5)


def test_a_missing_share_leaves_noise(place):
  parties, _ = place
  key = joint_key.JointKeys(PARAMS, ENCODING).make(parties)
  ciphertexts = _encrypted(key, np.zeros([2, 3000], np.float32))
  assert np.abs(key.open_sum(ciphertexts, 2, 3000)).max() <= 2 * ENCODING.step
  key._held = key._held[:1]
  assert len(np.unique(key.open_sum(ciphertexts, 2, 3000))) > 2900


def test_a_sum_over_nobody_is_zero():
  key = joint_key.JointKeys(PARAMS, ENCODING).make([])
  assert np.all(key.open_sum(np.ones(bfv.ciphertext_shape(PARAMS, LENGTH), np.int32), 0, LENGTH) == 0)
