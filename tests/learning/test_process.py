"""FedAvg and FedProx against TFF's own algorithms and against arithmetic in numpy."""

import dataclasses

import numpy as np
import pytest
import tensorflow_federated as tff

from tests import tiny
from tff_vision import configs, tasks
from tff_vision.aggregation import stack
from tff_vision.learning import learning_process
from tff_vision.participation import cohort_sampling
from tff_vision.privacy import plan
from tff_vision.privacy.mechanisms import sampled_plans


def build(task, *, algorithm='fedavg', mu=0.0, server='sgd', aggregator=None, rate=0.1, server_rate=1.0):
  return learning_process.build_process(
      task, algorithm=configs.AlgorithmConfig(algorithm=algorithm,
                                              proximal_strength=mu if algorithm == 'fedprox' else None),
      client=configs.ClientConfig(client_learning_rate=rate),
      server=configs.ServerConfig(server_optimizer=server, server_learning_rate=server_rate),
      aggregator=aggregator or stack.build_stack(plan.NoPrivacy(sampler=lambda round_num: np.arange(4))))


def train(made, task, rounds=2, clients=range(4), data=tasks.Task.client_dataset):
  state = made.set_model_weights(made.initialize(), task.initial_weights())
  for round_num in range(1, rounds + 1):
    state = made.next(state, [data(task, client, round_num) for client in clients]).state
  return [np.asarray(w) for w in made.get_model_weights(state).trainable]


def softmax_round(task, weights, rates, mu=0.0):
  """One FedAvg round of the linear model by hand: weighted mean of local SGD."""
  total, deltas = 0, [np.zeros_like(w) for w in weights]
  for client in range(4):
    kernel, bias = (w.astype(np.float64) for w in weights)
    n = 0
    for x, y in task.client_batches(client, 1).as_numpy_iterator():
      flat = x.reshape(len(x), -1).astype(np.float64)
      logits = flat @ kernel + bias
      p = np.exp(logits - logits.max(1, keepdims=True))
      error = p / p.sum(1, keepdims=True) - np.eye(3)[y]
      g_kernel, g_bias = flat.T @ error / len(x), error.mean(0)
      kernel, bias = (kernel - rates * (g_kernel + mu * (kernel - weights[0])),
                      bias - rates * (g_bias + mu * (bias - weights[1])))
      n += len(x)
    deltas = [d + n * (w - w0) for d, w, w0 in zip(deltas, (kernel, bias), weights, strict=True)]
    total += n
  return [w + d / total for w, d in zip(weights, deltas, strict=True)]


def test_fedavg_equals_tff_and_numpy(tff_runtime):
  task = tiny.task()
  ours = train(build(task), task)
  theirs = tff.learning.algorithms.build_weighted_fed_avg(
      task.model_fn, client_optimizer_fn=tff.learning.optimizers.build_sgdm(0.1))
  for mine, reference in zip(ours, train(theirs, task, data=tasks.Task.client_batches), strict=True):
    np.testing.assert_allclose(mine, reference, atol=1e-6)
  start = [np.asarray(w) for w in task.initial_weights().trainable]
  for mine, reference in zip(train(build(task), task, rounds=1), softmax_round(task, start, 0.1), strict=True):
    np.testing.assert_allclose(mine, reference, atol=1e-6)


def test_fedprox_equals_numpy_and_is_fedavg_without_proximal_term(tff_runtime):
  task = tiny.task(client_epochs=2)
  start = [np.asarray(w) for w in task.initial_weights().trainable]
  proximal = train(build(task, algorithm='fedprox', mu=2.0), task, rounds=1)
  for mine, reference in zip(proximal, softmax_round(task, start, 0.1, mu=2.0), strict=True):
    np.testing.assert_allclose(mine, reference, atol=1e-6)
  plain = train(build(task), task)
  for zero, reference in zip(train(build(task, algorithm='fedprox', mu=0.0), task), plain, strict=True):
    np.testing.assert_allclose(zero, reference, atol=1e-7)
  # A strong term keeps clients near the server's model; TFF 0.87's own FedProx drives them away.
  moved = lambda weights: sum(np.abs(w - w0).sum() for w, w0 in zip(weights, start, strict=True))
  theirs = tff.learning.algorithms.build_weighted_fed_prox(
      task.model_fn, 2.0, client_optimizer_fn=tff.learning.optimizers.build_sgdm(0.1))
  plain, weaker = train(build(task), task, rounds=1), train(theirs, task, rounds=1, data=tasks.Task.client_batches)
  assert moved(proximal) < moved(plain) < moved(weaker)


def test_a_client_with_non_finite_weights_counts_for_nothing(tff_runtime):
  images = tiny.federated_images()
  pool = images.test.examples
  as_floats = dataclasses.replace(images.train, pool=dataclasses.replace(pool, x=pool.x.astype(np.float32) / 255))
  held_out = dataclasses.replace(images.test, examples=as_floats.pool)
  task = dataclasses.replace(tiny.task(), images=dataclasses.replace(
      images, train=as_floats, test=held_out, spec=dataclasses.replace(images.spec, dtype=np.float32)))
  sane = build(task)
  state = sane.set_model_weights(sane.initialize(), task.initial_weights())
  spoiled = task.client_dataset(1, 1).map(lambda element: {**element, 'x': element['x'] * float('nan')})
  with_nan = sane.next(state, [task.client_dataset(0, 1), spoiled]).state
  for mine, alone in zip(sane.get_model_weights(with_nan).trainable, train(sane, task, rounds=1, clients=(0,)),
                         strict=True):
    np.testing.assert_array_equal(mine, alone)


@pytest.mark.parametrize('server', ['sgdm', 'adam', 'adamw', 'yogi', 'adagrad'])
def test_server_optimizers_step_along_the_mean_update(tff_runtime, server):
  """One step of Reddi et al. 2021, algorithm 2; adam and yogi with Keras's bias correction, tau = 1e-3;
  adamw takes its share of the weights off too."""
  task = tiny.task()
  start = [np.asarray(w) for w in task.initial_weights().trainable]
  result = train(build(task, server=server, server_rate=0.1), task, rounds=1)
  averaged = softmax_round(task, start, 0.1)
  for mine, w, mean in zip(result, start, averaged, strict=True):
    d = mean - w
    second = {'adam': 0.01 * d**2, 'adamw': 0.01 * d**2, 'yogi': 1e-6 + 0.01 * np.sign(d**2 - 1e-6) * d**2}.get(server)
    step = {'sgdm': d, 'adagrad': d / np.sqrt(d**2 + 2e-6)}.get(server)
    if step is None:
      step = 0.1 * d / (np.sqrt(second) + 1e-3)
    if server == 'adamw':
      step = step - 0.004 * w
    np.testing.assert_allclose(mine - w, 0.1 * step, atol=2e-5)


def test_an_empty_cohort_leaves_the_model_as_it_is(tff_runtime):
  task = tiny.task()
  for mine, start in zip(train(build(task), task, rounds=1, clients=()), task.initial_weights().trainable,
                         strict=True):
    np.testing.assert_array_equal(mine, start)


def test_client_gaussian_without_noise_is_a_clipped_sum_over_the_expected_cohort(tff_runtime):
  """Expected cohort 2 although four come: the denominator is fixed, and examples do not weigh."""
  task = tiny.task()
  start = [np.asarray(w) for w in task.initial_weights().trainable]
  private = sampled_plans.ClientGaussian(sampler=cohort_sampling.PoissonCohort(population=4, rate=0.5, seed=0),
                                         clip_norm=0.05,
                                noise_multiplier=0.0, delta=1e-3)
  made = build(task, aggregator=stack.build_stack(private))
  result = train(made, task, rounds=1)
  plain = build(task)
  total = [np.zeros_like(w) for w in start]
  for client in range(4):
    alone = train(plain, task, rounds=1, clients=(client,))
    update = [new - w for new, w in zip(alone, start, strict=True)]
    norm = np.sqrt(sum((u.astype(np.float64)**2).sum() for u in update))
    assert norm > 0.05, 'the clip must bite for this test to say something'
    total = [t + u * (0.05 / norm) for t, u in zip(total, update, strict=True)]
  for mine, w, t in zip(result, start, total, strict=True):
    np.testing.assert_allclose(mine, w + t / 2, atol=1e-6)
