"""Private SGD on the examples of all clients together: arithmetic by hand, and a direct sum of probabilities."""

import dataclasses
import json
import math

import dp_accounting
import numpy as np
import pytest
import tensorflow as tf
from dp_accounting import pld, rdp

from tests import tiny
from tff_vision import configs
from tff_vision.privacy import plan
from tff_vision.privacy.mechanisms import example_plan, shared_step
from tff_vision.privacy.noise import example_shares

SIZES = (7, 12, 3, 9)


def build(sizes=SIZES, rounds=5, batch_size=4, bits=20, **privacy):
  made = plan.build_plan(
      configs.PrivacyConfig(**{'privacy': 'example_distributed', 'clip_norm': 1.0, 'delta': 1e-3, **privacy}),
      configs.CohortConfig(cohort_size=len(sizes)), population=len(sizes), rounds=rounds, seed=3, sizes=sizes,
      client=configs.ClientConfig(batch_size=batch_size))
  return made.for_secure_sum(configs.SecureConfig(secure_sum='masks', secure_bits=bits))


def for_task(made, task):
  return made.for_model(task.keras_model(), task.batch_spec[0]).for_loss(
      task.loss_fn, task.batch_spec[1], tf.TensorSpec((None, 3)), separable=True)


def gradient(weights, image, label):
  kernel, bias = weights
  logits = image @ kernel + bias
  error = np.exp(logits - logits.max())
  error = error / error.sum() - (np.arange(3) == label)
  return np.concatenate([np.outer(image, error).ravel(), error])


def test_a_clients_integers_are_its_rounded_sum_of_clipped_gradients():
  task = tiny.task(sizes=SIZES)
  made = for_task(build(batch_size=100, noise_multiplier=1.0, clip_norm=0.5), task)
  assert made.rate == 1.0
  step = shared_step.build_step_fn(task.keras_model(), example_plan.one_each(task.loss_fn), made.step)
  weights = task.initial_weights()
  x, y = _input(task, 1)
  result = step(weights, x, y)
  by_hand = np.zeros(51)
  for image, label in zip(x.numpy().reshape(len(x), -1).astype(np.float64), y.numpy(), strict=True):
    found = gradient([np.asarray(w, np.float64) for w in weights.trainable], image, label)
    by_hand += found * min(1.0, 0.5 / np.linalg.norm(found))
  sent = np.concatenate([np.asarray(part).ravel() for part in result.update])
  np.testing.assert_array_equal(sent, np.round(sent))
  np.testing.assert_allclose(sent * 0.5 / made.shares.clip_steps, by_hand, atol=1e-4)
  assert result.update_weight == 1.0


def test_one_example_never_moves_the_integers_beyond_the_sensitivity():
  """Also with extreme inputs, whose gradients are clipped hard, and where coordinates reach their limit."""
  task = tiny.task(sizes=SIZES)
  made = for_task(build(batch_size=1000, noise_multiplier=1.0, clip_norm=0.5), task)
  step = shared_step.build_step_fn(task.keras_model(), example_plan.one_each(task.loss_fn), made.step)
  weights, rng = task.initial_weights(), np.random.default_rng(0)
  for scale, count in ((1.0, 9), (1e4, 9), (1e-3, 9), (50.0, 400)):
    x = (rng.normal(size=(1, 4, 4, 1)) * np.ones((count, 1, 1, 1)) * scale).astype(np.float32)
    y = np.zeros(count, np.int32)
    with_it, without = (np.concatenate([np.asarray(part).ravel() for part in step(weights, a, b).update])
                        for a, b in ((tf.constant(x), tf.constant(y)), (tf.constant(x[1:]), tf.constant(y[1:]))))
    assert np.linalg.norm(with_it - without) <= made.shares.sensitivity
    assert np.abs(with_it).max() <= made.shares.limit


def test_integers_are_noised_limited_and_leave_no_fraction():
  made = dataclasses.replace(build(noise_multiplier=2.0), length=10_000)
  encoding, shares = made.sum_encoding(), made.shares
  sent = [encoding.encode(tf.zeros([10_000]), tf.constant([0, 0])).numpy() - encoding.offset for _ in SIZES]
  # Keys are new in each run: six deviations.
  assert np.std(sum(sent)) == pytest.approx(2.0 * shares.sensitivity, rel=6 / math.sqrt(20_000))
  assert abs(np.corrcoef(sent[0], sent[1])[0, 1]) < 6 / 100
  far = encoding.encode(tf.constant([1e30, -1e30, math.nan, 3.0] * 2500), tf.constant([0, 0])).numpy()
  np.testing.assert_array_equal(far, np.round(far))
  assert 0 <= far.min() and far.max() <= 2 * encoding.offset
  assert np.mean(far[0::4]) - encoding.offset == pytest.approx(shares.limit, abs=6 * shares.stddev / 50)


def test_a_sum_of_shares_is_a_continuous_gaussian_rounded_at_random():
  """Both laws by numbers: two shares added, and a continuous Gaussian that a discrete one around it rounds."""
  shares = example_shares.ExampleShares(kind='gaussian', clip_steps=3.0, length=1, stddev=6.0)
  reach = np.arange(-100, 101)
  one = np.exp(-reach ** 2 / (2 * 6.0 ** 2))
  summed = np.convolve(one / one.sum(), one / one.sum())[100:-100]
  deviation = shares.accounted(2) * shares.sensitivity
  assert deviation == pytest.approx(math.sqrt(2 * 36 - 16))
  y = np.arange(-100, 100, 1 / 64)
  rounding = np.exp(-(reach[:, None] - y) ** 2 / (2 * 4.0 ** 2))
  rounding /= np.exp(-(np.arange(-200, 201)[:, None] - y) ** 2 / (2 * 4.0 ** 2)).sum(0)
  rounded = (rounding * np.exp(-y ** 2 / (2 * deviation ** 2))).sum(1) / (deviation * math.sqrt(2 * math.pi) * 64)
  near = np.abs(reach) < 50
  np.testing.assert_allclose(rounded[near], summed[near], rtol=1e-9)


@pytest.mark.parametrize(('rate', 'order'), [(0.1, 2), (0.3, 4), (1.0, 3)])
def test_the_cost_bounds_a_direct_sum_of_probabilities(rate, order):
  """One coordinate, noise of two clients: the sum's law by convolution, both directions, against Renyi accounting."""
  shares = example_shares.ExampleShares(kind='gaussian', clip_steps=3.0, length=1, stddev=6.0)
  reach = np.arange(-200, 201)
  one = np.exp(-reach ** 2 / (2 * 6.0 ** 2))
  both = np.convolve(one / one.sum(), one / one.sum())
  moved = np.roll(both, 4)  # The sensitivity: three steps of the gradient and one of rounding.
  mixed = (1 - rate) * both + rate * moved
  inside = (both > 1e-60) & (mixed > 1e-60)
  charged = rdp.RdpAccountant([order]).compose(dp_accounting.PoissonSampledDpEvent(
      rate, dp_accounting.GaussianDpEvent(shares.accounted(2)))).rdp[0]
  for p, q in ((mixed, both), (both, mixed)):
    direct = math.log(np.sum(p[inside] ** order * q[inside] ** (1 - order))) / (order - 1)
    assert direct <= charged * (1 + 1e-9) + 1e-12


def test_epsilon_is_that_of_the_continuous_mechanism():
  made = dataclasses.replace(build(sizes=(2000, 2000, 2000), rounds=200, batch_size=100, noise_multiplier=1.5,
                                   delta=1e-5), length=1000)
  event = dp_accounting.SelfComposedDpEvent(dp_accounting.PoissonSampledDpEvent(
      100 / 2000, dp_accounting.GaussianDpEvent(1.5)), 200)
  exact = pld.PLDAccountant().compose(event).get_epsilon(1e-5)
  assert exact <= made.ledger(200).epsilon <= 1.001 * exact
  # Two of three shares: as if the noise were smaller by the root of 2 / 3.
  fewer = dataclasses.replace(made, past=dataclasses.replace(made.past, delivered={n: 2 for n in range(1, 201)}))
  event = dp_accounting.SelfComposedDpEvent(dp_accounting.PoissonSampledDpEvent(
      100 / 2000, dp_accounting.GaussianDpEvent(1.5 * math.sqrt(2 / 3))), 200)
  assert fewer.ledger(200).epsilon >= pld.PLDAccountant().compose(event).get_epsilon(1e-5)


def test_a_target_is_met_and_a_repeated_round_is_charged():
  task = tiny.task(sizes=SIZES)
  made = for_task(build(target_epsilon=3.0, rounds=20), task)
  assert 2.99 < made.ledger(20).epsilon <= 3.0
  assert made.charged(dataclasses.replace(made.past, replayed=(4,))).ledger(20).epsilon > 3.0
  found = made.ledger(20)
  assert found.unit == 'example' and [one.examples for one in found.per_client] == list(SIZES)
  assert type(found).from_json(json.loads(json.dumps(found.to_json()))) == found
  assert made.spent(20).kind_of == (0, 0, 0, 0)


@pytest.mark.parametrize(('change', 'words'), [
    ({'secure': configs.SecureConfig()}, 'privacy=example_distributed needs secure_sum=masks or he or he_keyholder'),
    ({'client': configs.ClientConfig(client_epochs=2)}, 'client_epochs=2 has no effect with privacy=example_distr'),
    ({'aggregation': configs.AggregationConfig(aggregator='norm_clipping', update_norm_bound=1.0)}, 'aggregator'),
    ({'algorithm': configs.AlgorithmConfig(algorithm='fedprox', proximal_strength=0.1)}, 'algorithm=fedprox'),
])
def test_settings_that_do_not_go_with_it_are_refused(change, words):
  with pytest.raises(ValueError, match=words):
    configs.ExperimentConfig(**{
        'privacy': configs.PrivacyConfig(privacy='example_distributed', clip_norm=1.0, noise_multiplier=1.0),
        'secure': configs.SecureConfig(secure_sum='masks'), **change})


def test_too_few_bits_are_refused():
  with pytest.raises(ValueError, match='secure_bits=12 is too coarse for 51 parameters'):
    for_task(build(bits=12, noise_multiplier=50.0), tiny.task(sizes=SIZES))


def _input(task, client):
  examples = task.images.train.examples(client)
  return tf.constant(examples.x.astype(np.float32) / 255), tf.constant(examples.y)
