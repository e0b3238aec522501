"""Noise belongs to what it covers: the same total repeats it, another one gets noise of its own."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.privacy.matrix import blt, toeplitz
from tff_vision.privacy.mechanisms import noised_mean, noised_metrics
from tff_vision.privacy.noise import correlated_noise, integer_grid, key_binding
from tff_vision.secure import chacha20, fixed_point

KEY = tf.constant(np.arange(8), tf.uint32)
SIZE = 4000


def words(key, nonce, count):
  return chacha20.key_stream(tf.constant(np.uint32(key)), tf.constant(np.uint32(nonce)), count).numpy()


def by_hand(key, round_num, totals):
  """The key of a round in Python's own integers."""
  prime, subkeys = 2 ** 26 - 5, words(key, [0, 0, 0], 16)
  numbers = [int(number) % 2 ** 64 for total in totals for number in np.ravel(total)]
  limbs = [number >> shift & 0xffff for shift in (0, 16, 32, 48) for number in numbers]
  rows = [limbs[start:start + 2048] for start in range(0, len(limbs), 2048)]
  secret = [int(word) % prime for word in words(subkeys[:8], [0, 0, 0], 5 * (2048 + len(rows)))]
  digest = []
  for lane in range(5):
    hashed = [sum(limb * secret[5 * column + lane] for column, limb in enumerate(row)) % prime for row in rows]
    digest.append(sum(one * secret[5 * (2048 + number) + lane] for number, one in enumerate(hashed)) % prime)
  return words(words(subkeys[8:], digest[:3], 8), [*digest[3:], round_num], 8)


@pytest.mark.parametrize('totals', [
    [[[1, -2 ** 62], [5, -1]], 7], [np.random.default_rng(1).integers(-2 ** 62, 2 ** 62, 3000)]])
def test_the_key_of_a_round_is_what_its_description_says(totals):
  found = key_binding.round_key(KEY, tf.constant(3, tf.int64), [tf.constant(total, tf.int64) for total in totals])
  np.testing.assert_array_equal(found, by_hand(np.arange(8), 3, totals))


def test_any_difference_gives_another_key():
  base, keys = np.zeros(SIZE, np.int64), []
  for change in (0, 1, -1, 2 ** 16, 2 ** 40, -2 ** 62):
    for position in (0, 1, SIZE - 1):
      changed = base.copy()
      changed[position] = change
      keys.append(tuple(key_binding.round_key(KEY, tf.constant(0, tf.int64), [tf.constant(changed)]).numpy()))
  assert len(set(keys)) == len(keys) - 2  # No change is no change wherever it is.
  other_round = key_binding.round_key(KEY, tf.constant(1, tf.int64), [tf.constant(base)])
  other_secret = key_binding.round_key(KEY + 1, tf.constant(0, tf.int64), [tf.constant(base)])
  assert {tuple(other_round.numpy()), tuple(other_secret.numpy())}.isdisjoint(keys)


STREAMS = [correlated_noise.White(), correlated_noise.Tree(4, True), correlated_noise.Banded((1.0, 0.5)),
           correlated_noise.Buffered(blt.optimise(toeplitz.Participation.of(8, 4), 2, restarts=1))]


@pytest.mark.parametrize('quantile', [None, noised_mean.QuantileClip(
    quantile=0.5, learning_rate=0.2, count_stddev=5.0)], ids=['fixed clip', 'tracked clip'])
@pytest.mark.parametrize('stream', STREAMS, ids=lambda stream: type(stream).__name__)
def test_two_cohorts_of_one_round_do_not_share_their_noise(stream, quantile):
  factory = noised_mean.NoisedMeanFactory(clip_norm=0.5, noise_multiplier=2.0, denominator=1.0, stream=stream,
                                          quantile=quantile)
  specs = [tf.TensorSpec([SIZE - 1], tf.float64), tf.TensorSpec([1], tf.float64)]
  state, rng = factory._initial(specs), np.random.default_rng(0)
  below = [tf.constant(integer_grid.STEPS // 2, tf.int64)] if quantile else []

  def release(state, total, below=below):
    result, following = factory._release(specs, state, {'update': tf.split(tf.constant(total), [SIZE - 1, 1]),
                                                        'below': below})
    return np.concatenate(result), following

  others = rng.integers(-2 ** 20, 2 ** 20, SIZE)
  victim = integer_grid.encode([tf.constant(rng.normal(size=SIZE))], tf.constant(1.0))[0][0].numpy()
  _, state = release(state, others)
  (first, _), (again, _), (without, _) = release(state, others + victim), release(state, others + victim), release(
      state, others)
  np.testing.assert_array_equal(first, again)
  # The attack: the difference would be the victim's exact update, of norm 0.5. It has the noise of two releases.
  difference = first - without
  white = float(state['clip_norm']) * (quantile.sum_noise_multiplier(2.0) if quantile else 2.0)
  # A tree's second round ends a leaf and a node of two, estimated from both by Honaker's weights 2/3 and 1/3.
  share = 5 ** 0.5 / 3 if isinstance(stream, correlated_noise.Tree) else 1.0
  assert difference.std() == pytest.approx(2 ** 0.5 * white * share, rel=0.1)
  assert abs(difference @ victim / np.linalg.norm(victim)) < 6 * difference.std()
  if quantile:
    # The count is part of the total: another count moves the noise on the sum, too.
    other_count, _ = release(state, others + victim, [tf.constant(-integer_grid.STEPS // 2, tf.int64)])
    assert (other_count - first).std() > 0.8 * difference.std()


def test_fresh_keys_leave_everything_else_as_it_was():
  mechanism = collections.OrderedDict(server_secret_key=np.arange(8, dtype=np.uint32), round=np.int64(3))
  state = tff.learning.templates.LearningAlgorithmState(
      [np.ones(2)], (), (), collections.OrderedDict(mechanism=mechanism, summing=()), {'server_secret_key': 0})
  changed = noised_mean.with_fresh_key(state)
  assert changed._replace(aggregator=state.aggregator) == state and list(changed.aggregator) == ['mechanism', 'summing']
  assert list(changed.aggregator['mechanism']) == list(mechanism) and changed.aggregator['mechanism']['round'] == 3
  assert mechanism['server_secret_key'][7] == 7, 'the state that was given is as it was'
  key = changed.aggregator['mechanism']['server_secret_key']
  assert key.dtype == np.uint32 and key.shape == (8,) and not np.array_equal(key, np.arange(8))
  assert not np.array_equal(key, noised_mean.with_fresh_key(state).aggregator['mechanism']['server_secret_key'])


def test_metrics_of_two_cohorts_do_not_share_their_noise():
  release = noised_metrics.NoisedMetrics(noise_multiplier=4.0, secret=bytes(32)).release
  with_victim = {'clients': 5, 'accuracy_steps': 4 * integer_grid.STEPS}
  without = {'clients': 4, 'accuracy_steps': 3 * integer_grid.STEPS}
  assert release(with_victim, 2) == release(with_victim, 2)
  differences = [release(with_victim, number)['cohort_size'] - release(without, number)['cohort_size']
                 for number in range(30)]
  assert np.std(differences) == pytest.approx(2 ** 0.5 * 4 * noised_metrics.SENSITIVITY, rel=0.5)
  assert release(with_victim, 2, 1) != release(with_victim, 2) != release(with_victim, 3)


def test_a_hidden_sum_moves_by_more_than_the_clip_and_by_no_more_than_its_sensitivity():
  size, encoding = 10_000, fixed_point.Encoding(value_bits=24, value_range=1.0, norm_bound=1.0)
  one = tf.constant(1.0)
  # In fixed point the victim's update has the largest norm that is allowed; the others' sum lies just below a half.
  victim = int(encoding.offset / size ** 0.5) // 8 * 8 + 1
  assert victim * size ** 0.5 <= encoding.offset
  sums = np.arange(size) * 8 + 3
  moved = [integer_grid.steps(encoding.decode(tf.constant(total + 2 * encoding.offset), tf.constant(2)), one).numpy()
           for total in (sums, sums + victim)]
  distance = np.linalg.norm(moved[1] - moved[0])
  assert integer_grid.STEPS < distance <= integer_grid.hidden_sensitivity(size, 2.0)
  assert integer_grid.hidden_sensitivity(size, 2.0) < integer_grid.STEPS * 1.001
  # No two sums do worse, whatever the rounding.
  rng = np.random.default_rng(0)
  for _ in range(50):
    others = rng.integers(-2 ** 26, 2 ** 26, size)
    direction = rng.normal(size=size)
    own = np.trunc(direction / np.linalg.norm(direction) * encoding.offset).astype(np.int64)
    moved = [integer_grid.steps(encoding.decode(tf.constant(total + 2 * encoding.offset), tf.constant(2)), one).numpy()
             for total in (others, others + own)]
    assert np.linalg.norm(moved[1] - moved[0]) <= integer_grid.hidden_sensitivity(size, 2.0)


def test_noise_under_a_hidden_sum_is_in_proportion_to_that_sensitivity():
  specs = [tf.TensorSpec([SIZE], tf.float32)]
  factory = noised_mean.NoisedMeanFactory(clip_norm=1.0, noise_multiplier=3.0, denominator=7.0, sum_factory=object())
  assert factory._stddev_steps(specs) == 3.0 * integer_grid.hidden_sensitivity(SIZE, 7.0) > 3.0 * integer_grid.STEPS
