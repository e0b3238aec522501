"""Sums under a key holder's key, made and opened by SEAL through TenSEAL."""

import collections
import os
import stat

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.secure import fixed_point, hidden_sum, hidden_vector
from tff_vision.secure.encryption import encrypted_sum, key_holder, parameters, ring

PARAMS = parameters.key_holder_parameters(clients_max=3, value_bits=16)
ENCODING = fixed_point.Encoding(value_bits=16, value_range=2.0)
LENGTH = 5


@pytest.fixture(name='holder', scope='module')
def _holder(tmp_path_factory):
  return key_holder.KeyHolder(tmp_path_factory.mktemp('holder') / 'keys', PARAMS)


def _updates(clients):
  return np.random.default_rng(clients).uniform(-2, 2, [clients, LENGTH]).astype(np.float32)


def test_seal_opens_the_sum_of_our_ciphertexts(holder):
  updates = _updates(3)
  ciphertexts = [encrypted_sum.encrypt_values(PARAMS, ENCODING, tf.constant(u), tf.constant(holder.public_key))
                 for u in updates]
  total = ring.add(ring.add(ciphertexts[0], ciphertexts[1], PARAMS.primes), ciphertexts[2], PARAMS.primes)
  opened = holder.open_sum(total.numpy(), 3, length=LENGTH, encoding=ENCODING)
  np.testing.assert_allclose(opened, updates.sum(0), atol=3 * ENCODING.step + 1e-6)
  assert np.all(holder.open_sum(total.numpy() * 0, 0, length=LENGTH, encoding=ENCODING) == 0)
  with pytest.raises(ValueError, match='over one client'):
    holder.open_sum(ciphertexts[0].numpy(), 1, length=LENGTH, encoding=ENCODING)


def test_another_key_opens_nothing(holder, tmp_path):
  stranger = key_holder.KeyHolder(tmp_path / 'keys', PARAMS)
  ciphertext = encrypted_sum.encrypt_values(PARAMS, ENCODING, tf.zeros([3000]), tf.constant(holder.public_key)).numpy()
  right = holder.open_sum(ciphertext, 2, length=3000, encoding=ENCODING)
  assert np.ptp(right) == 0
  with pytest.raises(ValueError, match='a ciphertext is not under its key'):
    stranger.open_sum(ciphertext, 2, length=3000, encoding=ENCODING)
  noise = [stranger._decrypt(polynomial) for polynomial in ciphertext]
  assert len(np.unique(noise)) > 2900


def test_secret_key_is_private_and_kept(holder, tmp_path):
  folder = tmp_path / 'keys'
  first = key_holder.KeyHolder(folder, PARAMS)
  assert stat.S_IMODE(os.stat(folder / 'secret.key').st_mode) == 0o600
  np.testing.assert_array_equal(key_holder.KeyHolder(folder, PARAMS).public_key, first.public_key)
  with pytest.raises(ValueError, match='secret.key is damaged, or was made for another secure_bits'):
    key_holder.KeyHolder(folder, parameters.key_holder_parameters(clients_max=100, value_bits=16))
  whole = (folder / 'public.key').read_bytes()
  for content, words in ((whole[:1000], 'public.key is damaged'), (b'', 'public.key is damaged'),
                         ((holder._folder / 'public.key').read_bytes(), 'not of one pair')):
    (folder / 'public.key').write_bytes(content)
    with pytest.raises(ValueError, match=words):
      key_holder.KeyHolder(folder, PARAMS)
  (folder / 'public.key').write_bytes(whole)
  os.chmod(folder / 'secret.key', 0o644)
  with pytest.raises(ValueError, match='mode 0600'):
    key_holder.KeyHolder(folder, PARAMS)
  os.remove(folder / 'public.key')
  with pytest.raises(ValueError, match='has no public.key'):
    key_holder.KeyHolder(folder, PARAMS)


def test_two_phases_equal_the_plain_mean(tff_runtime, holder):
  """The aggregation stack alone, as a process whose model is the running sum of means."""
  value_type = tff.types.to_type(collections.OrderedDict(a=tff.TensorType(np.float32, [2]), b=np.float32))
  means = [hidden_vector.SecureMeanFactory(tff.aggregators.concat_factory(factory), largest_weight=4.0)
           .create(value_type, tff.TensorType(np.float32))
           for factory in (encrypted_sum.EncryptedSumFactory(PARAMS, ENCODING), hidden_sum.OpenedSumFactory())]
  updates = [collections.OrderedDict(a=np.float32([i, -i]), b=np.float32(i / 2)) for i in (1, 2)]
  hidden = means[0].next(encrypted_sum.key_state(holder.public_key), updates, [1.0, 3.0])
  assert isinstance(hidden.measurements, hidden_sum.HiddenSum) and hidden.measurements[1:] == (2, 4)
  opened = holder.open_sum(hidden.measurements.total, 2, length=4, encoding=ENCODING)
  result = means[1].next(hidden_sum.opened_state(opened), [], []).result
  np.testing.assert_allclose(result['a'], [7 / 4, -7 / 4], atol=1e-3)
  np.testing.assert_allclose(result['b'], 7 / 8, atol=1e-3)
