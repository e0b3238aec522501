import numpy as np
import pytest
import tensorflow as tf

from tff_vision.privacy.matrix import banded, blt, toeplitz, tree
from tff_vision.privacy.noise import correlated_noise

ROUNDS = 24
STRATEGY = blt.optimise(toeplitz.Participation.of(ROUNDS, 6), 2, restarts=1)
BANDS = correlated_noise.on_grid(banded.optimise(ROUNDS, 6))


STEPS = 2.0 ** 30


def run(stream, white):
  """Returns e, [rounds, *shape], for white[round][draw], by the stream's own steps, in units of 2^30 grid steps."""
  buffers = tf.zeros([stream.num_buffers, *white.shape[2:]], stream.dtype)
  step = tf.function(lambda buffers, round_num, drawn: stream.step(
      buffers, round_num, lambda number: tf.gather(drawn, number)))
  released = []
  for round_num, drawn in enumerate(white):
    whole = np.round(drawn * STEPS * 2 ** stream.fraction_bits).astype(np.int64)
    noise, buffers = step(buffers, tf.constant(round_num, tf.int64), tf.constant(whole))
    assert noise.dtype == tf.int64
    released.append(noise.numpy() / STEPS)
  return np.array(released)


@pytest.mark.parametrize('stream, coefficients', [
    (correlated_noise.White(), np.ones(1)), (correlated_noise.Banded(tuple(BANDS)), BANDS),
    (correlated_noise.Banded((1.0,)), np.ones(1)),
    (correlated_noise.Buffered(STRATEGY), STRATEGY.coefficients(ROUNDS))])
def test_streams_apply_the_inverse_matrix(stream, coefficients):
  white = np.random.default_rng(0).normal(size=(ROUNDS, 1, 3, 2))
  expected = np.linalg.solve(toeplitz.matrix(coefficients, ROUNDS), white[:, 0].reshape(ROUNDS, 6))
  np.testing.assert_allclose(run(stream, white).reshape(ROUNDS, 6), expected, atol=1e-6)


def test_the_covariance_of_a_stream_is_that_of_the_inverse():
  white = np.random.default_rng(1).normal(size=(ROUNDS, 1, 20_000))
  inverse = np.linalg.inv(toeplitz.matrix(STRATEGY.coefficients(ROUNDS), ROUNDS))
  expected = inverse @ inverse.T
  # Each entry's Monte-Carlo error is at most sqrt(2) * diagonal / sqrt(20000).
  np.testing.assert_allclose(np.cov(run(correlated_noise.Buffered(STRATEGY), white)), expected,
                             atol=5 * 2 ** 0.5 / 20_000 ** 0.5)


@pytest.mark.parametrize('efficient', [False, True])
@pytest.mark.parametrize('rounds, b', [(8, 8), (13, 4), (11, 8)])
def test_trees_release_prefixes_of_noisy_nodes(rounds, b, efficient):
  participation = toeplitz.Participation.of(rounds, b)
  period = tree.restart_period(participation)
  stream = correlated_noise.Tree(period, efficient)
  # The stream is linear in its draws: one impulse a (round, draw) reads off the whole matrix.
  impulses = np.eye(rounds * stream.num_buffers).reshape(rounds, stream.num_buffers, -1)
  prefixes = np.cumsum(run(stream, impulses), 0)
  variances = (prefixes ** 2).sum(1)
  assert variances.max() == pytest.approx(tree.error_squared(participation, 'max', efficient=efficient), rel=1e-3)
  assert variances.mean() == pytest.approx(tree.error_squared(participation, 'mean', efficient=efficient), rel=1e-3)
  # Draw (t, l) is the noise of the node over 2^l rounds that ends in t. The weights of a prefix, applied to the
  # nodes' sums, must give the prefix itself: only then is adding the noise post-processing of noisy nodes.
  nodes = np.zeros((rounds, stream.num_buffers, rounds))
  for t in range(rounds):
    for level in range(stream.num_buffers):
      if (t % period + 1) % 2 ** level == 0:
        nodes[t, level, t + 1 - 2 ** level:t + 1] = 1
  np.testing.assert_allclose(prefixes @ nodes.reshape(-1, rounds), np.tril(np.ones((rounds, rounds))), atol=1e-5)


@pytest.mark.parametrize('stream', [correlated_noise.White(), correlated_noise.Banded(tuple(BANDS)),
                                    correlated_noise.Tree(4, True),
                                    correlated_noise.Tree(4, False)])
def test_what_is_released_is_a_function_of_noisy_sums_alone(stream):
  """The proof's one step, exactly: noise that starts from the noisy sums of other totals gives the same releases."""
  rng = np.random.default_rng(5)
  totals = [rng.integers(-2 ** 30, 2 ** 30, [7, 50]) for _ in range(2)]
  white = rng.integers(-2 ** 50, 2 ** 50, [7, max(stream.num_buffers, 1), 50])
  # The second run's white noise is the first's, moved so that every noisy sum is the same.
  moved = totals[0] - totals[1]
  other = white.copy()
  for t in range(7):
    if isinstance(stream, correlated_noise.Tree):
      for level in range(stream.num_buffers):
        if (t % 4 + 1) % 2 ** level == 0:
          other[t, level] += moved[t + 1 - 2 ** level:t + 1].sum(0)
    else:
      coefficients = np.round(np.array(getattr(stream, 'coefficients', (1.0,))) * 2 ** stream.fraction_bits)
      for lag, coefficient in enumerate(coefficients.astype(np.int64)[:t + 1]):
        other[t, 0] += coefficient * moved[t - lag]
  released = []
  for total, drawn in zip(totals, (white, other), strict=True):
    buffers = tf.zeros([stream.num_buffers, 50], stream.dtype)
    for t in range(7):
      noise, buffers = stream.step(buffers, tf.constant(t, tf.int64), lambda n: tf.gather(tf.constant(drawn[t]), n))  # noqa: B023
      released.append(total[t] + noise.numpy())
  np.testing.assert_array_equal(released[:7], released[7:])
