"""Models of the clients' own beside implementations in numpy, and their evaluation."""

import contextlib
import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests import tiny
from tests.learning import numpy_algorithms
from tests.learning.test_algorithms import close
from tests.learning.tiny_experiments import COHORTS, SIZES, experiment, flat, kept, model, oracle, train
from tff_vision import assembly, configs
from tff_vision.client_state import store
from tff_vision.configs import runtime_config
from tff_vision.learning import client_data, evaluation, learning_process, local_training, personal
from tff_vision.models import personal_layers


@pytest.fixture(scope='module')
def averaged(tff_runtime):
  """FedAvg over COHORTS."""
  return model('fedavg')


def two_layers(input_shape, num_classes):
  """The linear model, its bias as a layer of its own."""
  return tf.keras.Sequential([
      tf.keras.layers.Input(input_shape), tf.keras.layers.Flatten(),
      tf.keras.layers.Dense(num_classes, use_bias=False, name='body'), Bias(name='head')], name='two_layers')


class Bias(tf.keras.layers.Layer):

  def build(self, input_shape):
    self.bias = self.add_weight('bias', shape=input_shape[-1:], initializer='zeros')

  def call(self, inputs):
    return inputs + self.bias


def test_fedper_and_its_evaluation(tff_runtime, tmp_path):
  run = experiment('fedper', builder=two_layers).prepare(client_states=tmp_path)
  expected, heads = numpy_algorithms.fedper(oracle(run))
  found, state, _ = train(run)
  close(found, expected)
  for client in range(4):
    close(flat(kept(run, client)), heads[client])
  assert len(np.unique(heads[:, 0])) > 3, 'heads that are all the same show nothing'

  _, found = run.parts.own_models.evaluate(run.evaluator, state, 3)
  o, test = oracle(run), run.task.images.test
  for client, positions in enumerate(test.clients):
    x = test.examples.x[positions].reshape(len(positions), -1) * run.task.images.preprocessing.scale
    right = lambda head, x=x, y=test.examples.y[positions]: np.mean(
        (x @ expected[:-3].reshape(-1, 3) + head).argmax(1) == y)
    assert found['own']['accuracies'][client] == pytest.approx(right(heads[client]))
    assert found['shared']['accuracies'][client] == pytest.approx(right(o.start[-3:]))
  gains = np.array(found['own']['accuracies']) > np.array(found['shared']['accuracies'])
  assert found['gaining'] == gains.mean() and found['never_trained'] == 0


def test_fedper_without_a_personal_layer_is_fedavg(averaged, tff_runtime):
  close(model('fedper', personal_layers='none'), averaged, atol=1e-7)


def test_fedrep(tff_runtime, tmp_path):
  run = experiment('fedrep', builder=two_layers).prepare(client_states=tmp_path)
  expected, heads = numpy_algorithms.fedper(oracle(run), head_steps=lambda i: -(-SIZES[i] // 4))
  close(train(run)[0], expected)
  for client in range(4):
    close(flat(kept(run, client)), heads[client])


@pytest.mark.parametrize('strength', [0.0, 0.7])
def test_ditto(averaged, tff_runtime, tmp_path, strength):
  run = experiment('ditto', ditto_strength=strength).prepare(client_states=tmp_path)
  _, own = numpy_algorithms.ditto(oracle(run), strength)
  close(train(run)[0], averaged, atol=1e-7)
  for client in range(4):
    close(flat(kept(run, client)), own[client])
  if not strength:  # Local training, which never hears of the others.
    w = oracle(run).start
    for round_num, cohort in enumerate(COHORTS, start=1):
      w = oracle(run).local(w, 0, round_num)[0] if 0 in cohort else w
    close(flat(kept(run, 0)), w)


@pytest.mark.parametrize('alpha, adaptive', [(0.0, False), (0.6, True)])
def test_apfl(averaged, tff_runtime, tmp_path, alpha, adaptive):
  run = experiment('apfl', apfl_alpha=alpha, apfl_adaptive=adaptive).prepare(client_states=tmp_path)
  _, mixed, alphas = numpy_algorithms.apfl(oracle(run), alpha, adaptive=adaptive)
  close(train(run)[0], averaged, atol=1e-7)
  for client in range(4):
    found = kept(run, client)
    close(flat(found['mixed']), mixed[client])
    close(found['alpha'], alphas[client])
  assert adaptive == (np.abs(alphas - alpha).max() > 1e-4)


def test_ifca(averaged, tff_runtime, tmp_path):
  run = experiment('ifca', ifca_clusters=6).prepare(client_states=tmp_path)
  starts = [flat(run.task.initial_trainable(i)) for i in range(6)]
  models, chosen = numpy_algorithms.ifca(oracle(run), starts)
  found, state, _ = train(run)
  close(found, models[0])
  for i, others in enumerate(state.finalizer['algorithm'], start=1):
    close(flat(others), models[i])
  assert [int(np.argmax(kept(run, client))) for client in range(4)] == [chosen[i] for i in range(4)]
  assert len(set(chosen.values())) > 1, 'clients that all choose the same model show nothing'


def test_ifca_with_one_model_is_fedavg(averaged, tff_runtime):
  close(model('ifca', ifca_clusters=1), averaged, atol=1e-6)


def test_fine_tuning_trains_on_and_leaves_the_shared_model(tff_runtime):
  task, client = tiny.task(), configs.ClientConfig(batch_size=4, client_learning_rate=0.1)
  asked = []

  @contextlib.contextmanager
  def cohort(clients, population):
    asked.append((tuple(clients), population))
    yield

  weights = task.initial_weights()
  evaluator = evaluation.Evaluator(task.keras_model(), preprocessing=task.images.preprocessing)
  models = lambda: personal.fine_tuned(
      task, local_training.LocalOptimization(client=client), weights, data=client_data.SentData(task=task), epochs=2,
      round_num=9, cohort=cohort)
  compared = personal.compare(evaluator, task.images.test, weights, models())
  assert compared['never_trained'] == 0 and compared['own']['mean'] != compared['shared']['mean']
  found = dict(models())
  # The same clients, who pass over their examples twice.
  tuning = numpy_algorithms.Oracle(tiny.task(client_epochs=2, client_learning_rate=0.1), [], rate=0.1)
  for i in range(4):
    close(flat(found[i].trainable), tuning.local(flat(w.numpy() for w in weights.trainable), i, 9)[0])
  assert asked[0] == ((0, 1, 2, 3), 4)


def test_fine_tuning_has_a_learning_rate_of_its_own(tff_runtime):
  def compared(trained, **fine_tuned):
    config = configs.ExperimentConfig(
        algorithm=configs.AlgorithmConfig(personalize_epochs=3, **fine_tuned),
        client=configs.ClientConfig(batch_size=4, client_learning_rate=trained))
    return assembly.personalize(config, task, runtime_config.RuntimeConfig(), tff_runtime, weights, evaluator)

  task = tiny.task()
  weights = task.initial_weights()
  evaluator = evaluation.Evaluator(task.keras_model(), preprocessing=task.images.preprocessing)
  other = compared(0.001)
  assert compared(0.001, personalize_learning_rate=0.5) == compared(0.5) != other
  assert compared(0.5, personalize_learning_rate=0.001) == other


@pytest.mark.parametrize('algorithm', ['fedper', 'ditto', 'apfl'])
def test_models_of_the_clients_own_begin_with_the_weights_of_the_file(algorithm):
  """Every weight of the model of round 0 is 0.25, as if a file said so."""
  task = dataclasses.replace(tiny.task(tiny.two_layers), start=lambda model: [
      weight.assign(tf.fill(weight.shape, 0.25)) for weight in model.weights])
  made = learning_process.algorithm_of(task, configs.AlgorithmConfig(algorithm=algorithm), task.client)
  first = made.brings(())
  for part in tf.nest.flatten(first['mixed'] if algorithm == 'apfl' else first):
    np.testing.assert_array_equal(part, np.full(part.shape, 0.25))


def test_clients_that_never_trained_fall_back_and_are_counted(tmp_path):
  task = tiny.task()
  algorithm = learning_process.algorithm_of(task, configs.AlgorithmConfig(algorithm='ditto'), task.client)
  states = store.Store(tmp_path, task.initial_trainable())
  states.write(2, 1, [w + 1 for w in task.initial_trainable()])
  shared_model = task.initial_weights()
  models = [(i, algorithm.own_model(states.read(i, None), (), shared_model) if states.knows(i) else None)
            for i in range(4)]
  evaluator = evaluation.Evaluator(task.keras_model(), preprocessing=task.images.preprocessing)
  found = personal.compare(evaluator, task.images.test, shared_model, models)
  assert found['never_trained'] == 3
  own, shared = found['own']['accuracies'], found['shared']['accuracies']
  assert [a == b for a, b in zip(own, shared, strict=True)][:2] == [True] * 2
  np.testing.assert_array_equal(evaluator.model.trainable_weights[0], task.initial_trainable()[0])


@pytest.mark.parametrize('layers, part', [
    ('dense_9', 'no layer'), ('body,head', 'nothing would be shared'), ('b*,h*', 'nothing would be shared'),
    ('norm', 'no normalisation layer')])
def test_personal_layers_that_do_not_fit_are_named(layers, part):
  with pytest.raises(ValueError, match=part):
    personal_layers.masks(two_layers((4, 4, 1), 3), layers)


def test_a_model_of_one_layer_has_nothing_to_share_unless_a_layer_is_named():
  one = tf.keras.Sequential([tf.keras.layers.Input((2,)), tf.keras.layers.Dense(3, name='only')])
  with pytest.raises(ValueError, match=r'^personal_layers is not given, which makes all layers .* \(only\): nothing'):
    personal_layers.masks(one, '')


@pytest.mark.parametrize('settings', [
    {'algorithm': configs.AlgorithmConfig(algorithm='fedrep'), 'client': configs.ClientConfig(client_epochs=1)},
    {'algorithm': configs.AlgorithmConfig(algorithm='ifca'), 'server': configs.ServerConfig(server_optimizer='adam')},
    {'algorithm': configs.AlgorithmConfig(algorithm='ifca'),
     'schedule': configs.ScheduleConfig(server_warmup_rounds=2)},
    {'algorithm': lambda: configs.AlgorithmConfig(personalize_learning_rate=0.1)},
    {'algorithm': lambda: configs.AlgorithmConfig(personalize_learning_rate=0.0, personalize_epochs=1)},
    {'algorithm': configs.AlgorithmConfig(personalize_learning_rate=0.1, personalize_epochs=1),
     'client': configs.ClientConfig(client_optimizer=tff.learning.optimizers.build_sgdm(0.1))},
    {'algorithm': configs.AlgorithmConfig(personalize_epochs=1), 'cohort': configs.CohortConfig(sampling='poisson'),
     'privacy': configs.PrivacyConfig(privacy='client_gaussian', clip_norm=1, noise_multiplier=1)}])
def test_settings_that_do_not_fit_are_refused(settings):
  with pytest.raises(ValueError, match='fedrep_head_epochs|server_optimizer|server_warmup_rounds|personalize_'):
    configs.ExperimentConfig(**{name: part() if callable(part) else part for name, part in settings.items()})
