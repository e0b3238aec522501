"""An attacker who knows everybody else's updates, and asks of each released number: can this total have given it?

Noise that cannot take some values answers with certainty. Here every release is explained twice, with the victim and
without: by random words of the key stream that the mechanism's own code turns into exactly these numbers.
"""

import asyncio
import collections
import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff
from scipy import stats

from tff_vision.privacy.matrix import banded, blt, toeplitz
from tff_vision.privacy.mechanisms import example_work, local_plan, noised_mean, noised_metrics
from tff_vision.privacy.noise import correlated_noise, integer_gaussian, integer_grid
from tff_vision.secure import chacha20, os_keys

SIZE, ROUNDS = 20_000, 4
MULTIPLIERS = (0.5, 5.0, 20.0, 300.0, 1000.0)
STREAMS = {
    'white': correlated_noise.White(), 'tree': correlated_noise.Tree(4, False),
    'efficient tree': correlated_noise.Tree(4, True),
    'blt': correlated_noise.Buffered(blt.optimise(toeplitz.Participation.of(100, 20), 3, restarts=1)),
    'banded': correlated_noise.Banded(tuple(correlated_noise.on_grid(banded.optimise(20, 4))))}


def words_for(targets, sigma):
  """Returns random words that `noise.gaussian_of` is to turn into `targets` and as many numbers of no interest.

  The radius is the largest there is; the angle is solved for.
  """
  size = len(targets)
  bits = next(bits for bits in range(33) if 2.0 ** 14 <= sigma / 2 ** bits < 2.0 ** 15)
  if sigma < 2.0 ** 23:
    bits = min(bits, 5)
  rng = np.random.default_rng(0)
  down = rng.integers(0, 2 ** bits, size)
  up = (targets + down) % 2 ** bits
  coarse = (targets - up + down) // 2 ** bits
  angle = np.arccos(coarse / (sigma / 2 ** bits * math.sqrt(2 * 53 * math.log(2)))) / (2 * math.pi)
  fraction = np.round(angle * 2.0 ** 53).astype(np.int64) - 1
  words = np.zeros((4, size), np.uint32)
  words[2] = fraction >> 21
  words[3] = (fraction & 2 ** 21 - 1) << 11
  low = np.zeros(0, np.uint32)
  if bits <= 5:
    words[1] = up | down << 5
  elif bits <= 16:
    low = np.concatenate([up | down << 16, np.zeros(size, np.int64)]).astype(np.uint32)
  else:
    low = np.concatenate([up, np.zeros(size, np.int64), down, np.zeros(size, np.int64)]).astype(np.uint32)
  return np.concatenate([words.ravel(), low])


def unexplained(targets, sigma):
  """Returns how many integers no random words give."""
  found = integer_gaussian.gaussian_of(tf.constant(words_for(targets, sigma)), 2 * len(targets), sigma)[:len(targets)]
  return int((found.numpy() != targets).sum())


def representable(targets, multiplier):
  """Returns the share of noises that multiply a float32 before they are rounded; all of them once were."""
  near = np.float32(targets / (multiplier * integer_grid.STEPS))
  tried = [near, np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf))]
  return np.any([np.round(multiplier * np.float64(z) * integer_grid.STEPS) == targets for z in tried], 0).mean()


def white_noise_for(stream, buffers, round_num, wanted):
  """Returns draws that make `stream` release `wanted`, for the round's last node, and zeros for those before it."""
  one = 2 ** correlated_noise.FRACTION_BITS
  if not isinstance(stream, correlated_noise.Tree):
    # Linear in the draw, which has so many more binary places.
    zero = stream.step(buffers, tf.constant(round_num, tf.int64), lambda number: tf.zeros([SIZE], tf.int64))[0].numpy()
    guess = (wanted - zero) * 2 ** stream.fraction_bits
    return {0: guess}
  levels = next(level for level in range(20) if not round_num >> level & 1)
  own = [round(share * one) for share in stream.own_shares()]
  held = buffers.numpy() * (round_num % stream.period > 0)
  node = wanted + held[:levels].sum(0)  # The buffers of these levels merge into it.
  if not levels:
    return {0: node}
  draws = {number: np.zeros(SIZE, np.int64) for number in range(levels)}
  below = np.zeros(SIZE, np.int64)
  for level in range(levels - 1):
    below = ((one - own[level]) * (below + held[level]) + one // 2) >> correlated_noise.FRACTION_BITS
  rest = (one - own[levels - 1]) * (below + held[levels - 1])
  return draws | {levels: (node * one - rest + own[levels - 1] // 2) // own[levels - 1]}


@pytest.mark.parametrize('multiplier', MULTIPLIERS)
@pytest.mark.parametrize('name', STREAMS)
def test_every_sequence_of_releases_is_possible_with_and_without_the_victim(name, multiplier):
  stream, rng = STREAMS[name], np.random.default_rng(int(multiplier))
  factory = noised_mean.NoisedMeanFactory(clip_norm=1.0, noise_multiplier=multiplier, denominator=1.0, stream=stream)
  specs = [tf.TensorSpec([SIZE], tf.float64)]  # Every bit of it.
  state = factory._initial(specs)
  direction = rng.normal(size=SIZE)
  victim = integer_grid.encode([tf.constant(direction)], tf.constant(1.0))[0][0].numpy()
  others = rng.integers(-2**14, 2**14, [ROUNDS, SIZE])
  totals = others + victim
  released = []
  for total in totals:
    (result,), state = factory._release(specs, state, {'update': [tf.constant(total)], 'below': []})
    released.append(np.round(result.numpy() * integer_grid.STEPS).astype(np.int64))
  sigma = multiplier * integer_grid.STEPS * 2 ** stream.fraction_bits
  for hypothesis in (totals, others):
    buffers = tf.zeros([stream.num_buffers, SIZE], stream.dtype)
    for round_num, wanted in enumerate(released - hypothesis):
      draws = white_noise_for(stream, buffers, round_num, wanted)
      assert not any(unexplained(draw, sigma) for draw in draws.values())
      known = tf.stack([tf.constant(draws[number]) for number in range(len(draws))])
      again, buffers = stream.step(buffers, tf.constant(round_num, tf.int64), lambda number: tf.gather(known, number))  # noqa: B023
      np.testing.assert_array_equal(again, wanted)
  noises = released - totals
  if multiplier >= 20:
    assert representable(noises[0], multiplier) < 0.9
  # The same by how many steps apart the values are: no sieve, whatever the deviation. Keys are new in each run, and a
  # hundred such numbers are looked at.
  for modulus in (2, 3, 7, 64):
    counts = np.bincount((noises % modulus).ravel(), minlength=modulus)
    expected = noises.size / modulus
    assert ((counts - expected) ** 2 / expected).sum() < stats.chi2.isf(1e-10, modulus - 1)


@pytest.mark.parametrize('name', ['efficient tree', 'blt', 'banded'])
def test_what_a_checkpoint_gives_back_goes_on_as_if_it_had_never_been_saved(name, tmp_path):
  factory = noised_mean.NoisedMeanFactory(clip_norm=1.0, noise_multiplier=20.0, denominator=1.0, stream=STREAMS[name])
  specs, total = [tf.TensorSpec([SIZE], tf.float64)], tf.ones([SIZE], tf.int64)
  state = factory._initial(specs)
  for _ in range(2):
    _, state = factory._release(specs, state, {'update': [total], 'below': []})
  manager = tff.program.FileProgramStateManager(str(tmp_path))
  asyncio.run(manager.save(state, 2))
  loaded = tf.nest.map_structure(tf.constant, asyncio.run(manager.load(2, state)))
  kept = loaded['server_secret_buffers'][0]
  assert kept.dtype == STREAMS[name].dtype and np.any(kept)
  (expected,), _ = factory._release(specs, state, {'update': [total], 'below': []})
  (found,), _ = factory._release(specs, loaded, {'update': [total], 'below': []})
  np.testing.assert_array_equal(expected, found)
  assert representable(np.round(found.numpy() * integer_grid.STEPS).astype(np.int64) - 1, 20.0) < 0.9


def test_the_buffers_of_a_blt_miss_exact_ones_by_far_less_than_a_step():
  strategy, rng, rounds = STREAMS['blt'].strategy, np.random.default_rng(3), 300
  stream, exact, worst = STREAMS['blt'], [np.zeros(20, object)] * 3, 0.0
  buffers = tf.zeros([3, 20], tf.float64)
  decays = [int(decay * 2 ** 60) for decay in strategy.decays]  # A float64 below 1 has 53 bits.
  for round_num in range(rounds):
    drawn = rng.normal(0, 1000 * integer_grid.STEPS * 2 ** stream.fraction_bits, 20).astype(np.int64)
    released, buffers = stream.step(buffers, tf.constant(round_num, tf.int64), lambda _: tf.constant(drawn))  # noqa: B023
    # In integers of 2^-60 steps.
    exact = [(decay * old >> 60) + (released.numpy().astype(object) << 60)
             for decay, old in zip(decays, exact, strict=True)]
    past = sum(weight * buffers[index].numpy() for index, weight in enumerate(strategy.weights))
    truth = sum(int(weight * 2 ** 60) * old for weight, old in zip(strategy.weights, exact, strict=True))
    missed = [abs((int(value * 2 ** 60) << 60) - true) / 2 ** 120 for value, true in zip(past, truth, strict=True)]
    worst = max(worst, *missed)
  assert worst < 2.0 ** -13


@pytest.mark.parametrize('multiplier', MULTIPLIERS)
def test_counts_and_metrics_have_noise_of_every_value(multiplier):
  made = noised_metrics.NoisedMetrics(noise_multiplier=multiplier, secret=bytes(32))
  sigma = multiplier * noised_metrics.SENSITIVITY * integer_grid.STEPS
  numbers = [made.release({'clients': 3, 'accuracy_steps': 7}, number)['cohort_size'] for number in range(30)]
  steps = np.array(numbers) * integer_grid.STEPS
  np.testing.assert_array_equal(steps, np.round(steps))
  for clients in (3, 2):
    assert not unexplained(steps.astype(np.int64) - clients * integer_grid.STEPS, sigma)
  # The tracked clip's count of unclipped updates: recovered from the factor by which the clip moved.
  clip = noised_mean.QuantileClip(quantile=0.5, learning_rate=1.0, count_stddev=multiplier)
  factory = noised_mean.NoisedMeanFactory(clip_norm=1.0, noise_multiplier=0.1, denominator=1.0, quantile=clip)
  drawn = integer_gaussian.gaussian(os_keys.kernel_key(), tf.zeros([3], tf.uint32), (), multiplier * integer_grid.STEPS)
  moved = factory._moved_clip(tf.constant(1.0), tf.constant(integer_grid.STEPS // 2, tf.int64), drawn)
  assert moved.dtype == tf.float32 and drawn.dtype == tf.int64


@pytest.mark.parametrize('multiplier', (20.0, 300.0))
def test_noise_of_clients_takes_every_value(multiplier, tff_runtime):
  del tff_runtime
  process = local_plan.LocallyNoisedMeanFactory(clip_norm=1.0, noise_multiplier=multiplier).create(
      tff.TensorType(np.float64, [SIZE]))
  noises = np.round(process.next(process.initialize(), [np.zeros(SIZE)]).result * integer_grid.STEPS).astype(np.int64)
  assert representable(noises, multiplier) < 0.9 and not unexplained(noises, multiplier * integer_grid.STEPS)


def test_noise_of_private_sgd_takes_every_value(monkeypatch):
  # A linear model without a gradient: what moves it is one step's noise, over a batch of one.
  multiplier, size = 20.0, 3000
  model = tf.keras.Sequential([tf.keras.layers.Input((size,)), tf.keras.layers.Dense(1, use_bias=False,
                                                                                     kernel_initializer='zeros')])
  start = tf.nest.map_structure(tf.identity, tff.learning.models.ModelWeights.from_model(model))
  train = example_work.build_train_fn(
      model, lambda y, outputs: 0 * outputs[:, 0], tff.learning.optimizers.build_sgdm(1.0), example_work.ExampleSgd(
          clip_norm=1.0, noise_multiplier=multiplier, batch_size=1, epochs=1, sampling='shuffled', ghost=True))
  key = tf.constant(np.arange(8), tf.uint32)
  drawn = integer_gaussian.gaussian(key, tf.zeros([3], tf.uint32), (size, 1), multiplier * integer_grid.STEPS).numpy()
  monkeypatch.setattr(os_keys, 'kernel_key', lambda: key)
  tf.config.run_functions_eagerly(True)
  try:
    update = tf.nest.flatten(train(start, tf.zeros([1, size]), tf.zeros([1], tf.int32)).update)[0].numpy()
  finally:
    tf.config.run_functions_eagerly(False)
  np.testing.assert_array_equal(update, np.float32(drawn / integer_grid.STEPS))
  assert representable(drawn.ravel(), multiplier) < 0.9


def test_the_noise_is_what_its_description_says():
  """A second implementation of the sampler, in numpy's 80-bit floats."""
  key, name = tf.constant(np.arange(8), tf.uint32), tf.constant([3, 1, 4], tf.uint32)
  for sigma, size in ((3.0, 5), (2.0 ** 20, 1000), (2.0 ** 22.9, 1001), (2.0 ** 27.3, 1000), (2.0 ** 41.7, 999)):
    half = (size + 1) // 2
    bits = max(0, math.floor(math.log2(sigma)) - 14)
    bits = min(bits, 5) if sigma < 2 ** 23 else bits
    words = chacha20.key_stream(key, name, 4 * half + {True: 0, False: size}[bits <= 5] * (2 if bits > 16 else 1))
    words = words.numpy().astype(np.int64)
    w = words[:4 * half].reshape(4, half)
    uniform = lambda high, low: np.longdouble((high << 21 | low >> 11) + 1) / 2 ** 53
    radius, angle = np.sqrt(-2 * np.log(uniform(w[0], w[1]))), 2 * np.longdouble(math.pi) * uniform(w[2], w[3])
    angle += uniform(w[2], w[3]) * 2 * np.longdouble('1.2246467991473531772e-16')  # What pi has beyond a float64.
    exact = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:size]
    machine = integer_gaussian._box_muller(tf.constant(words[:4 * half], tf.uint32))[:size].numpy()
    assert (abs(machine - exact) <= 2.0 ** -49 * np.concatenate([radius, radius])[:size]).all()
    if bits <= 5:
      field = np.concatenate([w[1], w[3]])[:size]
      up, down = field & 2 ** bits - 1, field >> 5 & 2 ** bits - 1
    elif bits <= 16:
      up, down = words[4 * half:] & 2 ** bits - 1, words[4 * half:] >> 16 & 2 ** bits - 1
    else:
      up, down = words[4 * half:].reshape(2, size) & 2 ** bits - 1
    expected = np.rint(exact * (sigma / 2 ** bits)).astype(np.int64) * 2 ** bits + up - down
    np.testing.assert_array_equal(integer_gaussian.gaussian(key, name, (size,), sigma), expected)


def test_its_moments_and_its_low_digits():
  key, count = tf.constant(np.arange(8), tf.uint32), 200_000
  for sigma in (2.0 ** 20, 2.0 ** 27.3, 2.0 ** 41):
    drawn = integer_gaussian.gaussian(key, tf.constant([1, 1, 1], tf.uint32), (count,), sigma).numpy()
    scaled = drawn / sigma
    assert abs(scaled.mean()) < 4 / math.sqrt(count) and abs(scaled.var() - 1) < 4 * math.sqrt(2 / count)
    assert abs((scaled ** 4).mean() - 3) < 4 * math.sqrt(96 / count)
    frequencies = collections.Counter((drawn % 32).tolist())
    assert len(frequencies) == 32
    assert sum((number - count / 32) ** 2 / (count / 32) for number in frequencies.values()) < 31 + 5 * math.sqrt(62)
  assert not integer_gaussian.gaussian(key, tf.zeros([3], tf.uint32), (4,), 0.0).numpy().any()
  with pytest.raises(ValueError, match='lower noise_multiplier'):
    integer_gaussian.gaussian(key, tf.zeros([3], tf.uint32), (4,), 2.0 ** 48)


@pytest.mark.parametrize('coarse', [2.0 ** 14, 2.0 ** 14.7])
def test_interpolated_probabilities_are_those_of_a_gaussian(coarse):
  mpmath = pytest.importorskip('mpmath')
  with mpmath.workprec(160):
    spread = mpmath.mpf(coarse)
    steps = 2 ** 9
    variance = (spread * steps) ** 2 + mpmath.mpf(steps) ** 2 / 4
    mass = lambda k: mpmath.ncdf((k + mpmath.mpf(1) / 2) / spread) - mpmath.ncdf((k - mpmath.mpf(1) / 2) / spread)
    errors, weights = [], []
    for deviations in np.arange(0, 6.01, 0.25):
      for offset in (0, 100, 255, 400):
        number = int(deviations * coarse) * steps + offset
        k, rest = divmod(number, steps)
        found = (mass(k) * (steps - rest) + mass(k + 1) * rest) / mpmath.mpf(steps) ** 2
        ideal = mpmath.exp(-mpmath.mpf(number) ** 2 / (2 * variance)) / mpmath.sqrt(2 * mpmath.pi * variance)
        errors.append(float(abs(found / ideal - 1)))
        weights.append(math.exp(-deviations ** 2 / 2))
  assert max(errors) < 2.0 ** -25
  assert math.sqrt(np.average(np.square(errors), weights=weights)) < 2.0 ** -29
