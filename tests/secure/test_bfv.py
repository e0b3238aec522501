"""Our BFV against Microsoft SEAL's, and what a single ciphertext shows."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tests.secure.seal_oracle import Seal
from tff_vision.secure import fixed_point, os_keys
from tff_vision.secure.encryption import bfv, parameters, ring

CLIENTS = 3
WIDE = parameters.threshold_parameters(clients_max=CLIENTS, value_bits=16, length=1_200_000, rounds=100)
PARAMS = dataclasses.replace(WIDE, values_per_coefficient=3)  # SEAL's plain modulus has room for three.
LENGTH = PARAMS.values_per_coefficient * PARAMS.degree - 5  # One ciphertext, some padding.
PRIMES = np.array(PARAMS.primes)[:, None]


@pytest.fixture(name='oracle', scope='module')
def _oracle():
  return Seal(PARAMS.primes, PARAMS.plain_bits, PARAMS.degree)


def _values(seed):
  """Whole numbers of clients in their full range, both ends included."""
  values = np.random.default_rng(seed).integers(0, 2 * PARAMS.offset + 1, [CLIENTS, LENGTH])
  values[:, 0], values[:, 1] = 0, 2 * PARAMS.offset
  return values


def _coefficients(values):
  fields = np.pad(values, (0, 5)).reshape(PARAMS.values_per_coefficient, -1)
  return sum(fields[k] << (PARAMS.field_bits * k) for k in range(PARAMS.values_per_coefficient))


def _encrypt(values, public_key):
  return bfv.encrypt(PARAMS, tf.constant(values, tf.float64), tf.constant(public_key), os_keys.kernel_key(),
                     quantize=lambda index, part: part)


def _joint_keys(params=PARAMS):
  reference = bfv.reference_polynomial(params, tf.constant(5, tf.int64))
  keys = [bfv.key_share(params, reference, os_keys.kernel_key()) for _ in range(CLIENTS)]
  b = sum(k[1].numpy().astype(np.int64) for k in keys) % PRIMES
  return [k[0].numpy() for k in keys], np.stack([b, reference.numpy()]).astype(np.int32)


def _shares(c1, secrets):
  return [_share_of_worker(c1, [s]) for s in secrets]


def _share_of_worker(c1, secrets):
  return bfv.decryption_share(PARAMS, LENGTH, tf.constant(c1), tf.constant(np.stack(secrets)),
                              os_keys.kernel_keys(len(secrets))).numpy()


def _sum(residues):
  return (np.sum(residues, axis=0, dtype=np.int64) % PRIMES).astype(np.int32)


def test_seal_decrypts_our_ciphertexts_and_our_sum(oracle):
  values = _values(1)
  key = oracle.public_polynomials()
  ciphertexts = [_encrypt(v, key).numpy() for v in values]
  for value, ciphertext in zip(values, ciphertexts, strict=True):
    decrypted, budget = oracle.decrypt(oracle.own_decryptor(), ciphertext[0])
    np.testing.assert_array_equal(decrypted, _coefficients(value))
    assert budget > 30
  decrypted, budget = oracle.decrypt(oracle.own_decryptor(), _sum(ciphertexts)[0])
  np.testing.assert_array_equal(decrypted, _coefficients(values.sum(0)))
  assert budget > 30


def test_our_addition_sums_seal_s_ciphertexts_with_ours(oracle):
  values = _values(2)
  total = tf.constant(oracle.encrypt(_coefficients(values[0])))
  total = ring.add(total, tf.constant(oracle.encrypt(_coefficients(values[1]))), PARAMS.primes)
  total = ring.add(total, _encrypt(values[2], oracle.public_polynomials())[0], PARAMS.primes)
  decrypted, _ = oracle.decrypt(oracle.own_decryptor(), total)
  np.testing.assert_array_equal(decrypted, _coefficients(values.sum(0)))


def test_joint_decryption_is_exact_and_seal_agrees(oracle, tmp_path):
  values = _values(3)
  secrets, key = _joint_keys()
  total = _sum([_encrypt(v, key) for v in values])
  shares = _shares(total[:, 1], secrets)
  decrypted = bfv.decrypt(PARAMS, tf.constant(total[:, 0]), tf.constant(_sum(shares)), LENGTH)
  np.testing.assert_array_equal(decrypted, values.sum(0))
  by_seal, budget = oracle.decrypt(oracle.decryptor(sum(secrets), tmp_path), total[0])
  np.testing.assert_array_equal(by_seal, _coefficients(values.sum(0)))
  # SEAL counts the room left in bits of 2 * noise: the noise stays below the bound the parameters assume.
  noise = math.log2(PARAMS.modulus) - PARAMS.plain_bits - 1 - budget
  assert noise <= np.log2(parameters.noise_bound(clients=CLIENTS, key_shares=CLIENTS, degree=PARAMS.degree)) + 1


def test_smudging_hides_the_exact_share():
  secrets, key = _joint_keys()
  c1 = _encrypt(_values(4)[0], key).numpy()[:, 1]
  exact = ring.product(ring.transform(ring.centre(tf.constant(c1), PARAMS.primes)),
                       ring.transform(tf.constant(secrets[0], tf.float64))).numpy()
  modulus = [int(p) for p in PARAMS.primes]
  exact = exact.astype(np.int64).astype(object)
  # Three equal clients of one worker: three times the product, and each client's own noise.
  for clients in (1, 3):
    difference = (_share_of_worker(c1, secrets[:1] * clients).astype(object) - clients * exact) % PRIMES
    noise = _centred_integers(difference[0], modulus)
    assert np.abs(noise).max() < clients * 2.0**PARAMS.smudging_bits
    assert abs(noise.std() / (2.0**PARAMS.smudging_bits * np.sqrt(clients / 3)) - 1) < 0.1


def test_with_one_share_missing_the_result_is_noise():
  values = _values(5)
  secrets, key = _joint_keys()
  total = _sum([_encrypt(v, key) for v in values])
  for missing in range(CLIENTS):
    shares = _shares(total[:, 1], [s for i, s in enumerate(secrets) if i != missing])
    decrypted = bfv.decrypt(PARAMS, tf.constant(total[:, 0]), tf.constant(_sum(shares)), LENGTH).numpy()
    assert np.mean(decrypted == values.sum(0)) < 0.001
    assert abs(np.corrcoef(decrypted, values.sum(0))[0, 1]) < 0.05


def test_a_ciphertext_s_view_does_not_depend_on_the_update():
  """Residues of two very different updates are uniform, each alone and against each other."""
  _, key = _joint_keys()
  views = [np.concatenate([_encrypt(np.full(LENGTH, v), key).numpy() for _ in range(8)]) for v in
           (0, 2 * PARAMS.offset)]
  cells = 64
  counts = [np.stack([np.histogram(view[:, half, j], cells, (0, p))[0] for half in range(2) for j, p in
                      enumerate(PARAMS.primes)]) for view in views]
  expected = 8 * PARAMS.degree / cells
  bound = stats.chi2.isf(1e-9, cells - 1)  # Of some fifty numbers, from keys that are new in each run.
  assert np.all(np.sum((counts[0] - expected)**2 / expected, axis=1) < bound)
  assert np.all(np.sum((counts[1] - expected)**2 / expected, axis=1) < bound)
  assert np.all(np.sum((counts[0] - counts[1])**2 / (2 * expected), axis=1) < bound)


def test_encryption_is_never_repeated():
  values = _values(6)[0]
  _, key = _joint_keys()
  assert np.mean(_encrypt(values, key).numpy() == _encrypt(values, key).numpy()) < 0.001


def test_chunks_use_different_randomness():
  """Equal plaintext in each polynomial must not give equal ciphertext: a repeated nonce would."""
  _, key = _joint_keys()
  length = 40 * PARAMS.values_per_coefficient * PARAMS.degree
  ciphertext = _encrypt(np.zeros(length), key).numpy()
  assert ciphertext.shape == tuple(bfv.ciphertext_shape(PARAMS, length)) and len(ciphertext) >= 40
  assert len({row.tobytes() for row in ciphertext[:, 1, 0]}) == len(ciphertext)


def test_reference_polynomial_is_public_and_new_each_round():
  rounds = [bfv.reference_polynomial(PARAMS, tf.constant(r, tf.int64)).numpy() for r in (0, 0, 1, 2**32)]
  np.testing.assert_array_equal(rounds[0], rounds[1])
  assert np.mean(rounds[0] == rounds[2]) < 0.001 and np.mean(rounds[0] == rounds[3]) < 0.001


def test_more_fields_in_a_coefficient_than_a_word_holds():
  """The parameters of a run, whose plain modulus no library takes: all is as exact as with fewer fields."""
  assert WIDE.values_per_coefficient == 7 and WIDE.plain_bits == 126
  length = 7 * WIDE.degree - 5
  values = np.random.default_rng(7).integers(0, 2 * WIDE.offset + 1, [CLIENTS, length])
  values[:, :7], values[:, 7:14] = 0, 2 * WIDE.offset  # Carries go up through all fields, or through none.
  secrets, key = _joint_keys(WIDE)
  total = _sum([bfv.encrypt(WIDE, tf.constant(v, tf.float64), tf.constant(key), os_keys.kernel_key(),
                            quantize=lambda index, part: part) for v in values])
  share = bfv.decryption_share(WIDE, length, tf.constant(total[:, 1]), tf.constant(np.stack(secrets)),
                               os_keys.kernel_keys(CLIENTS))
  np.testing.assert_array_equal(bfv.decrypt(WIDE, tf.constant(total[:, 0]), share, length), values.sum(0))
  assert fixed_point.to_fields(tf.range(100.0, dtype=tf.float64), 7, 1, WIDE.degree).shape == (1, 7, WIDE.degree)


def test_a_share_tells_of_the_noise_what_the_bound_says():
  """An adversary that knows all but one secret: from the share it computes U + E, and E is as large as is assumed.

  With noise of few bits the best test (is U + E beyond the range of U?) has the advantage that the bound gives, so the
  bound is no better and no worse than what it describes.
  """
  narrow = dataclasses.replace(WIDE, values_per_coefficient=3, smudging_bits=12)
  (mine, *others), key = _joint_keys(narrow)
  values = np.zeros([CLIENTS, narrow.degree * 3 * 4])
  total = _sum([bfv.encrypt(narrow, tf.constant(v), tf.constant(key), os_keys.kernel_key(),
                            quantize=lambda index, part: part) for v in values])
  share = bfv.decryption_share(narrow, values.shape[1], tf.constant(total[:, 1]), tf.constant(mine[None]),
                               os_keys.kernel_keys(1)).numpy()
  theirs = ring.product(ring.transform(ring.centre(tf.constant(total[:, 1]), narrow.primes)),
                        ring.transform(tf.constant(sum(others), tf.float64))).numpy().astype(np.int64)
  # Sums of zeros: c0 + c1 * (all secrets) is E alone.
  seen = [_centred_integers((total[i, 0] + theirs[i].astype(object) + share[i]) % PRIMES, narrow.primes)
          for i in range(len(total))]
  beyond = np.concatenate(seen)
  advantage = np.mean((beyond < -2.0**12) | (beyond >= 2.0**12))
  bits = parameters.decryption_bits(narrow, length=values.shape[1], openings=1)
  per_coefficient = 2**-bits / beyond.size
  # Of a centred Gaussian E|x| is 0.8 standard deviations; with three rounded messages the bound counts 3 more. The
  # ratio is 0.80, of deviation 0.012 in 40 runs.
  assert 0.6 * per_coefficient < advantage < per_coefficient


def _centred_integers(residues, primes):
  """Returns the integers nearest to zero with these residues (Chinese remainder theorem), as floats."""
  modulus = int(np.prod(np.array(primes, object)))
  total = sum(residues[j] * (modulus // p) * pow(modulus // p, -1, p) for j, p in enumerate(primes)) % modulus
  return np.array([float(x - modulus if x > modulus // 2 else x) for x in total])
