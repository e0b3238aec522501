import collections
import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_vision.privacy.matrix import blt, toeplitz
from tff_vision.privacy.mechanisms import noised_mean
from tff_vision.privacy.noise import correlated_noise, integer_grid

pytestmark = pytest.mark.usefixtures('tff_runtime')
UPDATE = tff.to_type(collections.OrderedDict(a=tff.TensorType(np.float32, [2]),
                                             b=(tff.TensorType(np.float32, [1, 1]),)))


def update(x, y, z):
  return collections.OrderedDict(a=np.float32([x, y]), b=(np.float32([[z]]),))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=30), st.floats(1e-3, 1e3))
def test_no_encoded_update_exceeds_the_clip(values, clip_norm):
  encoded, norm = integer_grid.encode([tf.constant(values, tf.float32)], tf.constant(clip_norm, tf.float32))
  assert math.sqrt(sum(int(v) ** 2 for v in encoded[0].numpy())) <= integer_grid.STEPS
  assert norm.numpy() == pytest.approx(np.linalg.norm(np.float64(values)), rel=1e-6)
  short = np.float64(values) / max(1.0, np.linalg.norm(values) / clip_norm)
  np.testing.assert_allclose(encoded[0].numpy() * clip_norm / integer_grid.STEPS, short,
                             atol=8 * clip_norm / integer_grid.STEPS)


def test_an_update_that_is_no_number_counts_as_zero():
  for bad in (math.nan, math.inf):
    encoded, _ = integer_grid.encode([tf.constant([1.0, bad])], tf.constant(1.0))
    assert encoded[0].numpy().tolist() == [0, 0]


def test_clip_sum_and_denominator_by_hand():
  process = noised_mean.NoisedMeanFactory(clip_norm=5.0, noise_multiplier=0.0, denominator=4.0).create(UPDATE)
  state = process.initialize()
  # Norms 3, 13 and not a number: the first as it is, the second times 5/13, the third as zero; over 4, not 3.
  output = process.next(state, [update(2, 2, 1), update(3, 4, 12), update(math.nan, 1, 1)])
  np.testing.assert_allclose(output.result['a'], [(2 + 15 / 13) / 4, (2 + 20 / 13) / 4], atol=1e-5)
  np.testing.assert_allclose(output.result['b'][0], [[(1 + 60 / 13) / 4]], atol=1e-5)
  empty = process.next(output.state, [])
  assert not empty.result['a'].any() and not empty.result['b'][0].any()


def test_noise_variance_key_and_repetition():
  value_type = tff.TensorType(np.float32, [10_000])
  process = noised_mean.NoisedMeanFactory(clip_norm=0.5, noise_multiplier=3.0, denominator=10.0).create(value_type)
  state = process.initialize()
  zeros = [np.zeros(10_000, np.float32)] * 2
  first, repeated = process.next(state, zeros), process.next(state, zeros)
  second, stranger = process.next(first.state, zeros), process.next(process.initialize(), zeros)
  # The key is new in each run: six deviations.
  assert first.result.std() == pytest.approx(3.0 * 0.5 / 10, rel=6 / math.sqrt(2 * 10_000))
  assert abs(first.result.mean()) < 6 * 0.15 / 100
  np.testing.assert_array_equal(first.result, repeated.result)
  for other in (second, stranger):
    assert abs(np.corrcoef(first.result, other.result)[0, 1]) < 6 / 100
  # Every output lies on the grid: the low bits say nothing about who took part.
  steps = np.float64(first.result) * 10 / (0.5 / integer_grid.STEPS)
  np.testing.assert_allclose(steps, np.round(steps), atol=abs(steps).max() * 2 ** -23)


def test_correlated_noise_cancels_in_prefix_sums_and_rounds_are_counted():
  rounds, size = 8, 4000
  strategy = blt.optimise(toeplitz.Participation.of(rounds, 4), 2, 'max', restarts=1)
  process = noised_mean.NoisedMeanFactory(
      clip_norm=1.0, noise_multiplier=2.0, denominator=1.0, stream=correlated_noise.Buffered(strategy),
      max_rounds=rounds).create(tff.TensorType(np.float32, [size]))
  state, released = process.initialize(), []
  for round_num in range(rounds):
    output = process.next(state, [np.full(size, 0.01 * (round_num + 1) / math.sqrt(size), np.float32)])
    state = output.state
    released.append(output.result)
  noise = np.array(released) - 0.01 * np.arange(1, rounds + 1)[:, None] / math.sqrt(size)
  inverse = toeplitz.invert(strategy.coefficients(rounds), rounds)
  for metric, found in (('max', np.cumsum(noise, 0)[-1].var()), ('mean', np.cumsum(noise, 0).var(1).mean())):
    assert found == pytest.approx(4 * toeplitz.error_squared(inverse, metric), rel=0.15)
  with pytest.raises(Exception, match='more rounds'):
    process.next(state, [np.zeros(size, np.float32)])


def test_the_clip_follows_the_quantile():
  clip = noised_mean.QuantileClip(quantile=0.5, learning_rate=0.2, count_stddev=1e-4)
  factory = noised_mean.NoisedMeanFactory(clip_norm=4.0, noise_multiplier=0.0, denominator=2.0, quantile=clip)
  process = factory.create(tff.TensorType(np.float32, [1]))
  state = process.initialize()
  # Both below 4: the fraction is 1, half above the quantile; then one of two, then none.
  for values, expected in (([1.0, 2.0], 4 * math.exp(-0.1)), ([1.0, 9.0], 4 * math.exp(-0.1)), ([9.0, 9.0], 4.0)):
    output = process.next(state, [np.float32([value]) for value in values])
    state = output.state
    assert state['mechanism']['clip_norm'] == pytest.approx(expected, rel=1e-3)
  assert output.measurements['clip_norm'] == pytest.approx(4 * math.exp(-0.1), rel=1e-3)


def test_sum_and_count_together_cost_one_gaussian():
  clip = noised_mean.QuantileClip(quantile=0.5, learning_rate=0.2, count_stddev=5.0)
  noise = clip.sum_noise_multiplier(1.0)
  assert noise ** -2 + (2 * 5.0) ** -2 == pytest.approx(1.0)
  with pytest.raises(ValueError, match='count_stddev=0.4'):
    noised_mean.QuantileClip(quantile=0.5, learning_rate=0.2, count_stddev=0.4).sum_noise_multiplier(1.0)
