"""Private SGD on clients, and private updates from clients: arithmetic by hand, noise by variance, ledgers."""

import dataclasses
import math

import dp_accounting
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests import tiny
from tff_vision import configs
from tff_vision.accounting import accounting, gdp
from tff_vision.privacy import plan
from tff_vision.privacy.mechanisms import local_plan


def build(sizes=(7, 12, 3, 9), rounds=5, sampling='fixed', cohort_size=None, client=None, **privacy):
  return plan.build_plan(
      configs.PrivacyConfig(**{'privacy': 'example_dp_sgd', 'clip_norm': 1.0, 'delta': 1e-3, **privacy}),
      configs.CohortConfig(sampling=sampling, cohort_size=cohort_size or len(sizes)), population=len(sizes),
      rounds=rounds, seed=3, sizes=sizes, client=client or configs.ClientConfig(batch_size=4, client_epochs=2))


def client_work(task, made, learning_rate=0.5):
  made = made.for_model(task.keras_model(), task.batch_spec[0])
  work = made.client_work(task.keras_model, task.loss_fn, task.batch_reader,
                          tff.learning.optimizers.build_sgdm(learning_rate))
  weights = task.initial_weights()

  def run(clients):
    return work.next(work.initialize(), [weights] * len(clients), [task.client_dataset(c, 1) for c in clients]).result

  return run, weights


def clipped_step(weights, x, y, clip, learning_rate, denominator):
  """One step of private SGD without noise, for logits = flat(x) @ kernel + bias."""
  kernel, bias = weights
  total = [np.zeros_like(kernel), np.zeros_like(bias)]
  for image, label in zip(x.reshape(len(x), -1), y, strict=True):
    logits = image @ kernel + bias
    error = np.exp(logits - logits.max())
    error = error / error.sum() - (np.arange(3) == label)
    gradient = [np.outer(image, error), error]
    norm = math.sqrt(sum((part ** 2).sum() for part in gradient))
    total = [t + part * min(1, clip / norm) for t, part in zip(total, gradient, strict=True)]
  return [w - learning_rate * t / denominator for w, t in zip(weights, total, strict=True)]


@pytest.mark.usefixtures('tff_runtime')
def test_a_client_that_overflows_weighs_as_many_as_it_has():
  """Its number of examples is public; whether its training went well is not."""
  run, _ = client_work(tiny.task(client_epochs=1), build(noise_multiplier=1.0), learning_rate=float('inf'))
  for size, result in zip((7, 12), run([0, 1]), strict=True):
    assert result.update_weight == size
    assert all(np.all(np.asarray(part) == 0) for part in result.update)


@pytest.mark.usefixtures('tff_runtime')
def test_two_passes_over_a_client_that_fits_into_one_batch_by_hand():
  task = tiny.task(client_epochs=1, batch_size=20)
  # Fewer examples than a batch: every one takes part in each step, and the denominator is their number.
  for sampling in ('poisson', 'shuffled', 'balls_in_bins'):
    made = build(noise_multiplier=0.0, clip_norm=0.5, example_sampling=sampling,
                 client=configs.ClientConfig(batch_size=20, client_epochs=2))
    run, weights = client_work(task, made)
    results = run([0, 2])
    for client, result in zip((0, 2), results, strict=True):
      examples = task.images.train.examples(client)
      after = [np.float64(w) for w in weights.trainable]
      for _ in range(2):
        after = clipped_step(after, examples.x / 255, examples.y, 0.5, 0.5, len(examples))
      for update, before, expected in zip(result.update, weights.trainable, after, strict=True):
        np.testing.assert_allclose(update, before - expected, atol=2e-5)
      assert result.update_weight == len(examples)


@pytest.mark.usefixtures('tff_runtime')
def test_noise_and_sampling_on_the_client():
  task = tiny.task(sizes=(400, 400), client_epochs=1, batch_size=100)
  made = build(sizes=(400, 400), noise_multiplier=500.0, clip_norm=0.1,
               client=configs.ClientConfig(batch_size=100, client_epochs=25))
  run, _ = client_work(task, made, learning_rate=1.0)
  first, second = ([np.concatenate([part.ravel() for part in result.update]) for result in run([0, 1])]
                   for _ in range(2))
  # A hundred steps of noise 500 * 0.1 over batches of 100; the clipped means add at most 0.1 a step. (With 50 they
  # correlated what two clients sent by 0.2, and left four deviations of room.)
  deviation = math.sqrt(100) * 500 * 0.1 / 100
  drawn = np.concatenate([*first, *second])
  assert drawn.std() == pytest.approx(deviation, rel=5 / math.sqrt(2 * drawn.size) + 0.05)
  for one, other in ((first[0], first[1]), (first[0], second[0])):
    assert abs(np.corrcoef(one, other)[0, 1]) < 5 / math.sqrt(one.size)


def test_each_client_keeps_its_own_ledger():
  made = build(noise_multiplier=1.0)
  ledger = made.ledger(5)
  # Client 2 has fewer examples than a batch, one step a pass and no amplification: 10 plain releases.
  assert [entry.examples for entry in ledger.per_client] == [7, 12, 3, 9]
  assert ledger.epsilon == pytest.approx(gdp.epsilon(math.sqrt(10), 1e-3), abs=5e-3)
  poisson = dp_accounting.SelfComposedDpEvent(
      dp_accounting.PoissonSampledDpEvent(4 / 12, dp_accounting.GaussianDpEvent(1.0)), 5 * 2 * 3)
  assert ledger.per_client[1].epsilon_rdp == pytest.approx(
      dp_accounting.rdp.RdpAccountant().compose(poisson).get_epsilon(1e-3), rel=0.02)
  assert ledger.unit == 'example' and not made.releases_exact_metrics


def test_a_client_pays_for_the_rounds_it_took_part_in():
  made = build(noise_multiplier=1.0, cohort_size=1, rounds=8)
  turns = [entry.rounds for entry in made.ledger(8).per_client]
  assert sum(turns) == 8 and turns == [sum(c in made.cohort(r) for r in range(1, 9)) for c in range(4)]


@pytest.mark.parametrize('sampling', ['poisson', 'shuffled', 'balls_in_bins'])
def test_calibration_serves_the_client_that_pays_most(sampling):
  made = build(target_epsilon=4.0, example_sampling=sampling)
  assert 3.9 < made.ledger(5).epsilon <= 4.0
  assert max(entry.epsilon_rdp for entry in made.ledger(5).per_client) == pytest.approx(
      made.ledger(5).epsilon_rdp, rel=0.05)


def test_delta_must_protect_the_largest_client():
  with pytest.raises(ValueError, match='delta=0.1'):
    build(noise_multiplier=1.0, delta=0.1)


@pytest.mark.usefixtures('tff_runtime')
def test_whole_updates_with_local_noise():
  size = 10_000
  process = local_plan.LocallyNoisedMeanFactory(clip_norm=2.0, noise_multiplier=3.0).create(
      tff.TensorType(np.float32, [size]))
  spike = np.zeros(size, np.float32)
  spike[0] = 1000.0
  results = [process.next(process.initialize(), [spike] * 4).result for _ in range(2)]
  # The mean of four clipped spikes is 2, of four noises has half their deviation.
  for result in results:
    assert result[1:].std() == pytest.approx(3 * 2 / 2, rel=0.04)
    assert abs(result[0] - 2) < 6 * 3
  assert abs(np.corrcoef(results[0][1:], results[1][1:])[0, 1]) < 6 / 100
  quiet = local_plan.LocallyNoisedMeanFactory(clip_norm=2.0, noise_multiplier=0.0).create(
      tff.TensorType(np.float32, [2]))
  found = quiet.next(quiet.initialize(), [np.float32([3, 4]), np.float32([0, 1])]).result
  np.testing.assert_allclose(found, [0.6, (1.6 + 1) / 2], atol=1e-5)


def test_local_privacy_is_a_replacement_each_turn():
  made = build(privacy='local_dp', noise_multiplier=8.0)
  assert made.ledger(5).epsilon == pytest.approx(gdp.epsilon(2 * math.sqrt(5) / 8, 1e-3))
  assert build(privacy='local_dp', target_epsilon=2.0).ledger(5).epsilon == pytest.approx(2.0)
  assert made.ledger(0).epsilon == 0.0


def test_the_report_says_how_gradients_are_clipped():
  task = tiny.task()
  made = build(noise_multiplier=1.0).for_model(task.keras_model(), task.batch_spec[0])
  assert made.ledger(1).to_json()['gradients'] == dataclasses.asdict(made.method)
  assert made.method.ghost and list(made.method.layers.values()) == ['dense']
  mixed = tf.keras.Sequential([tf.keras.layers.Input((4, 4, 1)), tf.keras.layers.BatchNormalization()])
  with pytest.raises(ValueError, match='GroupNormalization'):
    made.for_model(mixed, task.batch_spec[0])


def test_the_ledger_is_that_of_the_dearest_client_by_either_accountant():
  sizes = (30, 33, 41, 57, 20)
  made = build(sizes=sizes, noise_multiplier=0.9, rounds=3)
  each = [accounting.epsilon_pld(run.event(), 1e-3) for run in (made.releases(client, 3) for client in range(5))]
  assert made.ledger(3).epsilon == pytest.approx(max(each), rel=1e-9)
