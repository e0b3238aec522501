"""Objects of a user's own, and labels that only clients have, against what a run promises."""

import types

import numpy as np
import pytest
import tensorflow as tf

import tff_vision as tv
from tests import tiny
from tff_vision import assembly, configs, told
from tff_vision.data import images
from tff_vision.learning import learning_process, local_steps
from tff_vision.objectives import classification, losses
from tff_vision.privacy.mechanisms import local_plan


def made(task, participation=None, **parts):
  return tv.Experiment(task, participation=participation or tv.Fixed(3), rounds=1,
                       client=tv.Client(tv.sgd(0.05), epochs=1, batch_size=4), **parts)


class Relative(tf.keras.losses.Loss):
  """Cross-entropy over its own running mean, which it makes when it is called first."""
  mean = None

  def call(self, y_true, y_pred):
    if self.mean is None:
      with tf.init_scope():
        self.mean = tf.Variable(1.0)
    losses = tf.keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
    return losses / self.mean.assign(0.9 * self.mean + 0.1 * tf.reduce_mean(losses))


class Frequent(Relative):
  """Counts the labels that it sees, and nothing of the outputs."""

  def call(self, y_true, y_pred):
    losses = tf.keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
    if self.mean is None:
      with tf.init_scope():
        self.mean = tf.Variable(tf.zeros([3]))
    return losses / (1 + tf.reduce_sum(self.mean.assign_add(tf.reduce_sum(tf.one_hot(y_true, 3), 0))))


@pytest.mark.parametrize('loss', [Relative, Frequent])
def test_a_loss_that_remembers_examples_is_refused_where_examples_are_promised_something(loss):
  task = lambda: tv.Task(tv.testing.tiny_images(), model='linear', objective=tv.Classification(loss=loss()))
  private = tv.ExampleDpSgd(clip_norm=1.0, noise_multiplier=1.0, delta=0.01)
  with pytest.raises(ValueError, match=f'loss {loss.__name__} does not go with example-level privacy: operation '
                                       'Assign.* may keep something'):
    made(task(), privacy=private).ledger()
  assert made(task(), privacy=configs.PrivacyConfig(
      privacy='local_dp', clip_norm=1.0, noise_multiplier=9.0, delta=0.01)).ledger().epsilon > 0


def test_what_an_objective_inherits_says_nothing_of_its_own_loss():

  class Mixing(classification.Classification):
    """Each example's loss is scaled by those of the others."""

    @property
    def loss_fn(self):
      return losses._OfFunction(lambda y, logits: tf.reduce_sum(logits) * tf.reduce_mean(logits, axis=1))

  class Claiming(Mixing):
    separable = True

  private = tv.ExampleDpSgd(clip_norm=1.0, noise_multiplier=1.0, delta=0.01)
  for kind, ghost in ((classification.Classification, True), (Mixing, False), (Claiming, True)):
    task = tv.Task(tv.testing.tiny_images(), model='linear', objective=kind(num_outputs=3, multi_label=False))
    assert made(task, privacy=private).ledger().examples.gradients.ghost is ghost


class Keeping(tv.Algorithm):
  """Clients keep their last update."""
  keeps = True

  def brings(self, weights):
    return tuple(tf.zeros(weight.shape) for weight in weights)

  def work(self, client):
    trained = client.descend()
    return tv.Work(trained=trained, sent=tuple(trained.update()), kept=tuple(trained.update()))


@pytest.mark.parametrize('parts', [
    {'privacy': configs.PrivacyConfig(privacy='local_dp', clip_norm=1.0, noise_multiplier=9.0, delta=0.01)},
    {'privacy': tv.DistributedGaussian(clip_norm=1.0, noise_multiplier=2.0, delta=0.01), 'secure_sum': tv.Masks()}])
def test_what_clients_keep_does_not_reach_a_server_that_is_promised_against(parts, tmp_path):
  with pytest.raises(ValueError, match='Keeping does not go with privacy=.*: the server stores what its clients keep'):
    made(tv.Task(tv.testing.tiny_images(), model='linear'), algorithm=Keeping(), **parts).run(tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


class Double(tv.Algorithm):
  """Clients send their update and its squares."""

  def work(self, client):
    trained = client.descend()
    return tv.Work(trained=trained, sent=(tuple(trained.update()), tuple(map(tf.square, trained.update()))))

  def step(self, server, mean, share, weights):
    return server, mean[0]


def test_shares_of_noise_are_for_updates_of_the_models_length(tmp_path):
  private = tv.DistributedGaussian(clip_norm=1.0, noise_multiplier=2.0, delta=0.01)
  with pytest.raises(ValueError, match='sends 390 numbers, and privacy=distributed_gaussian counts on .* 195'):
    made(tv.Task(tv.testing.tiny_images(), model='linear'), algorithm=Double(), privacy=private,
         secure_sum=tv.Masks()).run(tmp_path / 'run')


def test_a_ledger_says_what_rounding_adds_to_the_numbers_that_are_sent(tmp_path):
  """Of 390 numbers, not of the model's 195: sqrt(390) steps, 2 (2 * 3 + 64) / 16 of float32 sums, and 1; of 2^20."""
  report = made(tv.Task(tv.testing.tiny_images(), model='linear'), algorithm=Double(), secure_sum=tv.Masks(),
                participation=tv.RoundRobin(3), privacy=configs.PrivacyConfig(
                    privacy='dp_ftrl', clip_norm=1.0, noise_multiplier=2.0, delta=0.01)).run(tmp_path / 'run').report
  assert report['privacy']['rounding_adds_to_sensitivity'] == pytest.approx(
      (390**0.5 + 2 * (2 * 3 + 64) / 16 + 1) / 2**20, rel=1e-9)


class Twice(tv.Algorithm):
  """Trains twice, and adds up what it measured, or measured nothing that is a number."""

  def __init__(self, factor):
    self._factor = factor

  def work(self, client):
    trained = client.descend()
    metrics = {name: value * self._factor for name, value in trained.metrics.items()}
    object.__setattr__(trained, 'metrics', metrics)
    return tv.Work(trained=trained, sent=tuple(trained.update()))


@pytest.mark.usefixtures('tff_runtime')
@pytest.mark.parametrize(('factor', 'bounds'), [(1e6, (0, 2)), (-1e6, (0, 0)), (float('nan'), (0, 0))])
def test_metrics_that_get_noise_keep_the_range_that_it_is_for(factor, bounds):
  task = tiny.task(client_epochs=1)
  learning = learning_process.build_process(
      task, algorithm=configs.AlgorithmConfig(algorithm=Twice(factor)), client=configs.ClientConfig(batch_size=4),
      server=configs.ServerConfig(), beside=told.Beside(measured=told.Measured.NOISED, weighs=False),
      aggregator=local_plan.LocallyNoisedMeanFactory(clip_norm=1.0, noise_multiplier=0.0))
  output = learning.next(learning.initialize(), [task.client_dataset(client, 1) for client in (0, 1)])
  measured = output.metrics['client_work']['train']
  assert measured['clients'] == 2
  assert bounds[0] <= measured['accuracy_steps'] / local_steps.ACCURACY_STEPS <= bounds[1]


def test_that_copies_differ_from_what_workers_have_is_a_note_on_training_examples():
  task = tiny.task()
  place = types.SimpleNamespace(with_parties=lambda count, ask: {0: 99})
  counted = assembly.counted(task, types.SimpleNamespace(data_placement='worker', worker_data_dir='x'), place)
  assert counted.images.train.num_examples(0) == 99
  assert [type(note) for note in counted.images.notes] == [images.Counted]


def test_classes_that_only_clients_have_are_not_told_by_the_models_outputs():
  rng = np.random.default_rng(0)
  part = lambda *y: (rng.integers(0, 255, (len(y), 8, 8)).astype(np.uint8), np.array(y))
  private = configs.PrivacyConfig(privacy='local_dp', clip_norm=1.0, noise_multiplier=9.0, delta=0.01)

  def ledger(test, privacy=private, **options):
    clients = {'a': part(0, 1), 'b': part(1, 0), 'c': part(0, 3)}
    return made(tv.Task(tv.data.from_arrays(clients, test=test, **options), model='linear'), privacy=privacy).ledger()

  with pytest.raises(ValueError, match=r'classes that no test image shows \(2, 3\)'):
    ledger(part(0, 1))
  assert ledger(part(0, 1), class_names=('w', 'x', 'y', 'z')).epsilon > 0  # Said, and not counted.
  assert ledger(part(0, 1, 2, 3)).epsilon > 0
  assert ledger(part(0, 1), privacy=configs.PrivacyConfig()).to_json() == {'mechanism': 'none'}


