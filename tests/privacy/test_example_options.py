"""Options of private SGD: views, moving clips, averages, correlated noise; by hand, and ledgers by computation."""

import dataclasses
import math

import dp_accounting
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff
from scipy import linalg

from tests import tiny
from tff_vision import configs
from tff_vision.accounting import gdp
from tff_vision.privacy import plan
from tff_vision.privacy.ghost import clipped
from tff_vision.privacy.matrix import toeplitz
from tff_vision.privacy.mechanisms import (
  example_batches,
  example_noise,
  example_views,
  example_work,
  noised_mean,
)
from tff_vision.privacy.noise import correlated_noise
from tff_vision.secure import os_keys

L = tf.keras.layers
LOSS = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction='none')
KEY = tf.constant(np.arange(8), tf.uint32)


def build(sizes=(40,), rounds=2, client=None, **privacy):
  return plan.build_plan(
      configs.PrivacyConfig(**{'privacy': 'example_dp_sgd', 'clip_norm': 1.0, 'delta': 1e-3, **privacy}),
      configs.CohortConfig(sampling='fixed', cohort_size=len(sizes)), population=len(sizes), rounds=rounds, seed=3,
      sizes=sizes, client=client or configs.ClientConfig(batch_size=8, client_epochs=3))


class Scaled(L.Layer):
  """A layer that has no rule of its own."""

  def build(self, shape):
    self.scale = self.add_weight('scale', [shape[-1]], initializer='ones')

  def call(self, inputs):
    return inputs * self.scale


def of_all_rules():
  inputs = L.Input((6, 6, 2))
  x = L.GroupNormalization(2)(L.Conv2D(4, 3, activation='tanh')(inputs))
  x = L.DepthwiseConv2D(2)(Scaled()(x)) + L.Conv2D(4, 2, activation='tanh')(x)
  x = L.LayerNormalization()(L.Conv2D(20, 3, 2)(x))
  tokens = L.Dense(5, 'tanh')(L.Reshape((4, 5))(L.Flatten()(x)))
  x = L.Flatten()(tokens + L.MultiHeadAttention(1, 3)(tokens, tokens))
  return tf.keras.Model(inputs, L.Dense(3)(L.Dense(30, 'tanh')(x)))


@pytest.mark.parametrize('ghost', [True, False])
def test_the_mean_gradient_of_all_copies_is_clipped_and_not_each(ghost):
  tf.keras.utils.set_random_seed(1)
  model, copies, rng = of_all_rules(), 3, np.random.default_rng(2)
  x = tf.constant(rng.normal(size=(5 * copies, 6, 6, 2)), tf.float32)
  y = tf.constant(np.repeat(rng.integers(0, 3, 5), copies), tf.int32)
  expected = []
  for rows in np.arange(5 * copies).reshape(5, copies):
    with tf.GradientTape() as tape:
      loss = tf.reduce_mean(LOSS(tf.gather(y, rows), model(tf.gather(x, rows))))
    expected.append(np.concatenate([np.ravel(tf.convert_to_tensor(g)) for g in tape.gradient(
        loss, model.trainable_variables)]))
  norms = np.linalg.norm(expected, axis=1)
  clip = float(np.median(norms))
  step = tf.function(lambda clip: clipped.clipped_sum(model, LOSS, x, y, clip, tf.ones(5), ghost=ghost,
                                                      copies=copies).__dict__)
  found = step(tf.constant(clip, tf.float64))
  np.testing.assert_allclose(found['norms'], norms, rtol=1e-4)
  total = (np.array(expected) * np.minimum(1, clip / norms)[:, None]).sum(0)
  np.testing.assert_allclose(np.concatenate([np.ravel(g) for g in found['gradients']]), total,
                             atol=1e-4 * abs(total).max())
  # Copies that agree less have a shorter mean: norms of single copies would be larger.
  each = clipped.clipped_sum(model, LOSS, x, y, clip, tf.ones(5 * copies), ghost=ghost).norms
  assert (np.mean(np.reshape(each, (5, copies)), 1) > 1.02 * norms).all()


def test_no_copies_push_an_example_beyond_its_clip():
  """Near-equal copies of large constants, whose float32 products cancel."""
  tf.keras.utils.set_random_seed(0)
  rng = np.random.default_rng(0)
  for layers in ([L.Conv2D(8, 1), L.GroupNormalization(8, center=False, scale=False), L.Flatten(), L.Dense(3)],
                 [L.Reshape((16, 2)), L.Dense(40), L.LayerNormalization(), L.Flatten(), L.Dense(3)]):
    model = tf.keras.Sequential([L.Input((4, 4, 2)), *layers])
    for scale in (1e-3, 1.0, 1e3):
      x = tf.constant(scale * (1 + 1e-4 * rng.normal(size=(4, 4, 4, 2))), tf.float32)
      for copies in (2, 4):
        found = clipped.clipped_sum(model, LOSS, x, tf.constant([0, 1, 2, 1]), 1e-3, tf.ones(4 // copies),
                                    copies=copies)
        one = [clipped.clipped_sum(model, LOSS, x[i:i + copies], tf.constant([0, 1, 2, 1])[i:i + copies], 1e-3,
                                   tf.ones(1), copies=copies).gradients for i in range(0, 4, copies)]
        for part in one:
          assert math.sqrt(sum(float(tf.reduce_sum(g * g)) for g in part)) <= 1e-3 * (1 + 1e-6)
        assert found.norms.shape == (4 // copies,)


def test_views_are_moved_reflected_and_mirrored():
  views = example_views.Views(copies=3, shift=2, mirror=True)
  x = np.random.default_rng(0).normal(size=(5, 6, 7, 2)).astype(np.float32)
  words = example_views.words(views, KEY, tf.constant(4), tf.constant(5))
  found = example_views.seen(views, tf.constant(x), words).numpy().reshape(5, 3, 6, 7, 2)
  padded = np.pad(x, [(0, 0), (2, 2), (2, 2), (0, 0)], 'reflect')
  kinds = set()
  for i in range(5):
    for copy in range(3):
      matches = [(t, l, m) for t in range(5) for l in range(5) for m in (1, -1)
                 if np.array_equal(padded[i, t:t + 6, l:l + 7][:, ::m], found[i, copy])]
      assert len(matches) == 1
      kinds.update(matches)
  assert len(kinds) > 8 and {m for *_, m in kinds} == {1, -1}
  # What decides about an example does not depend on how many others there are.
  np.testing.assert_array_equal(example_views.words(views, KEY, tf.constant(4), tf.constant(9))[:5], words)
  assert not np.array_equal(example_views.words(views, KEY, tf.constant(5), tf.constant(5)), words)


def test_a_batch_that_drew_nobody_has_views_of_nobody():
  views = example_views.Views(copies=2, shift=2)
  nobody = example_views.seen(views, tf.zeros([0, 5, 4, 1]), tf.zeros([0, 2], tf.uint32))
  assert nobody.shape == (0, 5, 4, 1)
  x = tf.reshape(tf.range(40.0), [2, 5, 4, 1])
  np.testing.assert_array_equal(example_views._with_margin(x, 2),
                                tf.pad(x, [[0, 0], [2, 2], [2, 2], [0, 0]], 'REFLECT'))


def test_views_spread_evenly():
  views = example_views.Views(copies=4000, shift=1, mirror=True)
  spike = np.zeros((1, 5, 5, 1), np.float32)
  spike[0, 2, 2] = 1
  seen = example_views.seen(views, tf.constant(spike), example_views.words(views, KEY, tf.constant(0), tf.constant(1)))
  counts = seen.numpy().sum(0)[1:4, 1:4, 0]
  assert counts.sum() == 4000 and abs(counts - 4000 / 9).max() < 5 * math.sqrt(4000 / 9)


def train(training, x, y, rate=0.5, momentum=0.5):
  tf.keras.utils.set_random_seed(4)
  model = tf.keras.Sequential([L.Input(x.shape[1:]), L.Flatten(), L.Dense(3)])
  start = tf.nest.map_structure(tf.identity, tff.learning.models.ModelWeights.from_model(model))
  client = example_work.build_train_fn(model, LOSS, tff.learning.optimizers.build_sgdm(rate, momentum), training)
  return start, client(start, tf.constant(x), tf.constant(y)).update


TRAINING = example_work.ExampleSgd(clip_norm=0.5, noise_multiplier=0.0, batch_size=6, epochs=4, sampling='cyclic',
                                   ghost=True)


def data(size=12, shape=(2, 2, 1)):
  rng = np.random.default_rng(0)
  return rng.normal(size=(size, *shape)).astype(np.float32), rng.integers(0, 3, size).astype(np.int32)


def by_hand(start, x, y, steps, batches, *, clip, quantile=None, average=0.0, rate=0.5, momentum=0.5):
  """Returns what a client returns, its last clip, without noise."""
  kernel, bias = (np.float64(w) for w in start.trainable)
  kept, mean, velocity = [kernel, bias], [kernel, bias], [0 * kernel, 0 * bias]
  for step in range(steps):
    total, below = [0 * kernel, 0 * bias], 0.0
    for i in batches[step]:
      image = x[i].ravel()
      logits = image @ kept[0] + kept[1]
      error = np.exp(logits) / np.exp(logits).sum() - (np.arange(3) == y[i])
      gradient = [np.outer(image, error), error]
      norm = math.sqrt(sum((part ** 2).sum() for part in gradient))
      below += 0.5 if norm <= clip else -0.5
      total = [t + g * min(1, clip / norm) for t, g in zip(total, gradient, strict=True)]
    velocity = [momentum * v + t / 6 for v, t in zip(velocity, total, strict=True)]
    kept = [w - rate * v for w, v in zip(kept, velocity, strict=True)]
    if quantile:
      clip *= math.exp(-quantile.learning_rate * (below / 6 + 0.5 - quantile.quantile))
    decay = min(average, (1 + step) / (10 + step)) if average else 0
    mean = [decay * m + (1 - decay) * w for m, w in zip(mean, kept, strict=True)]
  return [w - m for w, m in zip((kernel, bias), mean, strict=True)], clip


def test_moving_clip_and_average_by_hand(monkeypatch):
  monkeypatch.setattr(os_keys, 'kernel_key', lambda: KEY)
  x, y = data()
  batches = [example_batches.draw('cyclic', 6, 1, KEY, tf.constant(step), tf.constant(12)).numpy() for step in range(8)]
  # The same batches each pass, every example once.
  assert all((batches[step] == batches[step + 2]).all() for step in range(6))
  assert sorted(np.concatenate(batches[:2])) == list(range(12))
  # A count with noise of a thousandth: the clip moves as without.
  quantile = noised_mean.QuantileClip(quantile=0.7, learning_rate=0.5, count_stddev=1e-3)
  start, plain = train(TRAINING, x, y)
  for options in ({'average': 0.3}, {'quantile': quantile, 'average': 0.9}):
    _, update = train(dataclasses.replace(TRAINING, **options), x, y)
    expected, clip = by_hand(start, x, y, 8, batches, clip=0.5, **options)
    for found, wanted in zip(update, expected, strict=True):
      np.testing.assert_allclose(found, wanted, atol=2e-3 if 'quantile' in options else 2e-5)
    assert not np.allclose(update[0], plain[0], atol=1e-2)
    assert ('quantile' in options) == (abs(clip - 0.5) > 0.1)


@pytest.mark.parametrize('kind', ['blt', 'banded', 'amplified'])
def test_correlated_noise_on_the_client_is_c_inverse_z(kind, monkeypatch):
  """Without a gradient the weights are the running sum of the noise: A C^-1 Z over the fixed denominator."""
  monkeypatch.setattr(os_keys, 'kernel_key', lambda: KEY)
  sampling = 'poisson' if kind == 'amplified' else 'cyclic'
  privacy = configs.PrivacyConfig(privacy='example_dp_sgd', clip_norm=1.0, noise_multiplier=2.0,
                                  example_sampling=sampling, example_noise=kind,
                                  **({} if kind == 'blt' else {'mf_bands': 3}))
  made = example_noise.build(privacy, configs.ClientConfig(batch_size=2, client_epochs=2), (10,), 1, 1e-3)
  training = example_work.ExampleSgd(clip_norm=1.0, noise_multiplier=2.0, batch_size=2, epochs=2, sampling=sampling,
                                     ghost=True, stream=made.stream, blocks=made.blocks)
  model = tf.keras.Sequential([L.Input((500,)), L.Dense(4, use_bias=False, kernel_initializer='zeros')])
  start = tf.nest.map_structure(tf.identity, tff.learning.models.ModelWeights.from_model(model))
  trajectory = []

  def optimizer_next(state, weights, gradients):
    trajectory.append(gradients[0])
    return state, tuple(w - g for w, g in zip(weights, gradients, strict=True))

  class Recorded:
    initialize = staticmethod(lambda specs: ())
    next = staticmethod(optimizer_next)

  tf.config.run_functions_eagerly(True)
  try:
    example_work.build_train_fn(model, lambda y, outputs: 0 * outputs[:, 0], Recorded, training)(
        start, tf.zeros([10, 500]), tf.zeros([10], tf.int32))
  finally:
    tf.config.run_functions_eagerly(False)
  noise = 2 * np.array([np.ravel(g) for g in trajectory], np.float64)  # Over a batch of two.
  assert len(noise) == 10
  z = toeplitz.matrix(np.array(made.coefficients), 10) @ noise
  # White, of the announced deviation, from step to step independent.
  assert z.std() == pytest.approx(2.0, rel=0.03)
  correlations = np.corrcoef(z) - np.eye(10)
  assert abs(correlations).max() < 5 / math.sqrt(z.shape[1])
  assert abs(np.corrcoef(noise) - np.eye(10)).max() > 0.2


def test_the_cost_of_correlated_noise_is_that_of_the_worst_example():
  """Sensitivity by brute force over every place in the fixed order, epsilon in closed form."""
  for kind, more in (('blt', {}), ('banded', {'mf_bands': 4}), ('banded', {})):
    made = build(sizes=(40, 61, 33), rounds=2, noise_multiplier=3.0, example_noise=kind, example_sampling='cyclic',
                 **more)
    ledger = made.final_ledger(2).to_json()
    for client, size in enumerate((40, 61, 33)):
      per_pass = -(-size // 8)
      steps = 3 * per_pass
      c = np.array(made.noise.coefficients)
      matrix = linalg.toeplitz(np.pad(c, (0, steps))[:steps], np.zeros(steps))
      moved = max(np.linalg.norm(matrix[:, place::per_pass].sum(1)) for place in range(per_pass))
      expected = gdp.epsilon(math.sqrt(2) * moved / 3.0, 1e-3)
      assert ledger['per_client'][client]['epsilon'] == pytest.approx(expected, rel=2e-3)
    assert ledger['relation'] == 'zero out one example' and kind in ledger['noise']
    assert made.turn_mu() <= moved / 3.0 + 1e-9


def test_the_cost_of_blocks_is_that_of_fewer_steps_at_a_higher_rate():
  made = build(sizes=(40,), rounds=2, noise_multiplier=3.0, example_noise='amplified', mf_bands=2)
  norm = math.sqrt(sum(c * c for c in made.noise.coefficients))
  # 15 steps in 2 blocks: 8 turns a round at twice the rate.
  event = dp_accounting.SelfComposedDpEvent(dp_accounting.PoissonSampledDpEvent(
      16 / 40, dp_accounting.GaussianDpEvent(3.0 / norm)), 16)
  expected = dp_accounting.pld.PLDAccountant().compose(event).get_epsilon(1e-3)
  assert made.ledger(2).epsilon == pytest.approx(expected, rel=1e-3)
  # And blocks are what the client draws: in every other step, at twice the rate.
  draw = tf.function(lambda step: example_batches.draw('poisson', 8, 2, KEY, step, tf.constant(400)))
  batches = [set(draw(tf.constant(step)).numpy()) for step in range(60)]
  even, odd = set().union(*batches[::2]), set().union(*batches[1::2])
  assert not even & odd and len(even | odd) > 230
  sizes = np.array([len(batch) for batch in batches])
  assert abs(sizes.mean() - 8) < 5 * math.sqrt(8 / 60)
  assert float(example_batches.expected('poisson', 8, 2, tf.constant(400))) == 8


@pytest.mark.parametrize('sampling', ['poisson', 'shuffled', 'balls_in_bins'])
def test_the_quantile_is_charged(sampling):
  options = {'example_adaptive_clip': True, 'count_stddev': 1.5, 'example_sampling': sampling}
  made = build(noise_multiplier=2.0, **options)
  # Sum and count of one example are a vector of norm 1 / z and (1 / 2) / 1.5 in units of their noises.
  z = made.quantile.sum_noise_multiplier(2.0)
  assert math.hypot(1 / z, 0.5 / 1.5) == pytest.approx(1 / 2.0)
  assert made.ledger(2).epsilon == build(noise_multiplier=2.0, example_sampling=sampling).ledger(2).epsilon
  assert made.ledger(2).to_json()['sum_noise_multiplier'] == pytest.approx(z) and z > 2.0
  with pytest.raises(ValueError, match='count_stddev'):
    build(noise_multiplier=3.1, **options)


def test_options_that_cost_nothing_leave_the_ledger():
  plain = build(target_epsilon=2.0)
  free = build(target_epsilon=2.0, example_average=0.9, example_copies=4, example_shift=2, example_mirror=True)
  assert plain.noise_multiplier == free.noise_multiplier
  assert plain.ledger(2).epsilon == free.ledger(2).epsilon
  assert not {'views', 'average', 'noise', 'count_stddev'} & plain.ledger(2).to_json().keys()
  assert {'views', 'average'} <= free.ledger(2).to_json().keys()


@pytest.mark.parametrize('options', [
    {'example_noise': 'blt', 'example_sampling': 'cyclic'},
    {'example_noise': 'banded', 'example_sampling': 'cyclic'}, {'example_noise': 'amplified'},
    {'example_sampling': 'cyclic'}, {'example_adaptive_clip': True, 'count_stddev': 3.0}])
def test_calibration_meets_the_budget(options):
  made = build(sizes=(40, 61), target_epsilon=3.0, **options)
  assert 2.9 < made.ledger(2).epsilon <= 3.0


@pytest.mark.parametrize('options, match', [
    ({'example_noise': 'blt'}, 'example_noise=blt needs example_sampling=cyclic'),
    ({'example_noise': 'banded', 'example_sampling': 'shuffled'}, 'example_noise=banded needs'),
    ({'example_noise': 'amplified', 'example_sampling': 'cyclic'}, 'needs example_sampling=poisson'),
    ({'example_noise': 'amplified', 'example_adaptive_clip': True}, 'example_adaptive_clip=True does not go'),
    ({'example_noise': 'banded', 'example_sampling': 'cyclic', 'mf_bands': 6}, 'mf_bands=6 exceeds the 5 steps'),
    ({'example_noise': 'amplified'}, 'mf_bands is missing'),
    ({'mf_bands': 2}, 'mf_bands=2 has no effect'), ({'count_stddev': 2.0}, 'count_stddev=2.0 has no effect'),
    ({'example_average': 1.0}, 'example_average'), ({'example_copies': 0}, 'example_copies'),
    ({'example_shift': -1}, 'example_shift')])
def test_what_would_make_epsilon_false_is_refused(options, match):
  with pytest.raises(ValueError, match=match):
    build(noise_multiplier=1.0, **options)


@pytest.mark.usefixtures('tff_runtime')
@pytest.mark.parametrize('options', [
    {'example_noise': 'blt', 'example_sampling': 'cyclic', 'example_copies': 2, 'example_shift': 1,
     'example_average': 0.9},
    {'example_adaptive_clip': True, 'count_stddev': 40.0, 'example_mirror': True}])
def test_options_run_on_clients(options):
  task = tiny.task(client_epochs=1)
  made = build(sizes=(7, 12, 3, 9), noise_multiplier=20.0, **options).for_model(task.keras_model(), task.batch_spec[0])
  work = made.client_work(task.keras_model, task.loss_fn, task.batch_reader, tff.learning.optimizers.build_sgdm(0.1))
  weights = task.initial_weights()
  first, again = ([np.ravel(result.update[0]) for result in work.next(
      work.initialize(), [weights] * 2, [task.client_dataset(client, 1) for client in (0, 1)]).result]
                  for _ in range(2))
  assert all(np.isfinite(part).all() and part.std() > 0.1 for part in [*first, *again])
  assert not np.allclose(first[0], again[0]) and not np.allclose(first[0], first[1])


def test_views_are_of_images():
  for shape, shift, match in (((4, 4, 1), 4, 'out of sight'), ((4,), 1, 'for images')):
    model = tf.keras.Sequential([L.Input(shape), L.Flatten(), L.Dense(2)])
    with pytest.raises(ValueError, match=match):
      build(noise_multiplier=1.0, example_shift=shift).for_model(model, tf.TensorSpec((None, *shape)))


def test_a_buffered_stream_leaves_room_for_its_rounding():
  buffered = correlated_noise.Buffered(None)
  assert 1 - dataclasses.replace(TRAINING, stream=buffered).room(10 ** 4) == pytest.approx(
      1.5 * (1 - TRAINING.room(10 ** 4)))
