"""An experiment made of values: own objects go in, a run goes on, and both ways of writing it down are the same."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

import tff_vision as tv
from tff_vision import catalogue, configs, experiment, plugins
from tff_vision.program import run_directory


class Signs(tv.Algorithm):
  """Clients descend the sign of the gradient."""

  def work(self, client):
    trained = client.descend(lambda carried, g, w, w0: (carried, [tf.sign(x) for x in g]))
    return tv.Work(trained=trained, sent=tuple(trained.update()))


class SendsNothing(tv.Algorithm):
  """Forgets to return what it has done."""

  def work(self, client):
    client.descend()


def network(input_shape, num_classes, units=4):
  layers = tf.keras.layers
  return tf.keras.Sequential([layers.Input(input_shape), layers.Flatten(), layers.Dense(units, 'relu'),
                              layers.Dense(num_classes)])


def double(y, logits):
  return 2 * tf.keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)


def made(**parts):
  fields = {'participation': tv.Fixed(3), 'client': tv.Client(tv.sgd(0.05), epochs=1, batch_size=4), 'rounds': 2,
            'rounds_per_evaluation': 1, 'seed': 4}
  return tv.Experiment(parts.pop('task', tv.Task(tv.testing.tiny_images(), model='linear')), **(fields | parts))


def test_every_public_name_is_there_and_nothing_is_imported_before():
  for name in tv.__all__:
    assert getattr(tv, name) is not None
  with pytest.raises(AttributeError, match='no_such_name'):
    tv.no_such_name  # noqa: B018


def test_every_sampling_has_a_value():
  made_by = {tv.Fixed: 'fixed', tv.Poisson: 'poisson', tv.RoundRobin: 'round_robin', tv.Allocation: 'allocation'}
  assert {value: value(3) for value in made_by} == {
      value: configs.CohortConfig(sampling=name, cohort_size=3) for value, name in made_by.items()}
  assert sorted(made_by.values()) == sorted(catalogue.names('sampling'))


def test_values_and_a_config_give_the_same_weights(tmp_path):
  images = tv.data.load('digits', partition=tv.Dirichlet(1.0, clients=6), seed=3)
  ours = tv.Experiment(tv.Task(images, model='linear'), participation=tv.Fixed(3), rounds=2, seed=3,
                       client=tv.Client(epochs=1)).run(tmp_path / 'values')
  theirs = experiment.run(configs.ExperimentConfig(
      data=configs.DataConfig(num_clients=6), model=configs.ModelConfig(model='linear'),
      client=configs.ClientConfig(client_epochs=1), cohort=configs.CohortConfig(cohort_size=3),
      program=configs.ProgramConfig(rounds=2, seed=3)), configs.LaunchConfig(run_dir=str(tmp_path / 'config')))
  for one, other in zip(ours.model.get_weights(), tf.keras.models.load_model(
      theirs.directory.export / 'model.keras', compile=False).get_weights(), strict=True):
    np.testing.assert_array_equal(one, other)
  assert ours.evaluation == theirs.report['evaluation']


def test_own_objects_in_every_place(tmp_path):
  task = tv.Task(tv.testing.tiny_images(), model=network, objective=tv.Classification(loss=double))
  run = made(task=task, algorithm=Signs(), server=tv.Server(tff.learning.optimizers.build_adam(0.05)),
             client=tv.Client(tff.learning.optimizers.build_sgdm(0.01, momentum=0.5), epochs=1, batch_size=4),
             aggregator=tff.aggregators.MeanFactory()).run(tmp_path / 'own')
  assert run.model.count_params() == 64 * 4 + 4 + 4 * 3 + 3
  logits = run.model(task.images.test.examples.x.astype(np.float32)).numpy()
  expected = double(task.images.test.examples.y, logits).numpy().mean()
  assert run.evaluation['loss'] == pytest.approx(expected, rel=1e-4)
  card = run.export('keras')
  assert card['formats']['keras']['max_logit_difference'] < 1e-4


def test_a_loop_over_rounds_stops_and_goes_on(tmp_path):
  whole = [record['evaluation'] for record in made(rounds=3).iterate(tmp_path / 'whole')]
  parts = made(rounds=3)
  for record in parts.iterate(tmp_path / 'parts'):
    first = record['evaluation']
    break
  rest = [record['evaluation'] for record in parts.iterate(tmp_path / 'parts')]
  assert [first, *rest] == whole


def test_a_changed_object_does_not_go_on(tmp_path):
  class Other(Signs):
    """Another class."""

  for _ in made(algorithm=Signs()).iterate(tmp_path / 'run'):
    break
  with pytest.raises(ValueError, match='algorithm is .*Signs.*Other'):
    made(algorithm=Other()).run(tmp_path / 'run')
  with pytest.raises(ValueError, match='dataset is an object of the Python program'):
    run_directory.RunDirectory(tmp_path / 'run').read_config()


def test_the_ledger_stands_before_anything_is_trained():
  ledger = made(participation=tv.Poisson(2), rounds=5, privacy=tv.ClientGaussian(
      clip_norm=0.5, target_epsilon=6.0, delta=0.02)).ledger()
  assert ledger.epsilon == pytest.approx(6.0, abs=0.01) and ledger.rounds == 5
  assert isinstance(ledger, tv.Ledger) and str(ledger) == (
      f'client_gaussian: epsilon {math.ceil(1000 * ledger.epsilon) / 1000:.3f} at delta 0.02; unit: client; '
      f'relation: add or remove one client; sampling: {ledger.sampling}; 5 rounds; accountant: PLD')
  assert str(made().ledger()) == 'no guarantee (privacy=none)' and made().ledger().epsilon == float('inf')


@pytest.mark.parametrize(('parts', 'match'), [
    ({'algorithm': 'fedagv'}, "algorithm must be one of .*fedagv'. Did you mean 'fedavg'"),
    ({'aggregator': 'medain'}, 'aggregator must be one of'),
    ({'algorithm': Signs(), 'privacy': tv.ExampleDpSgd(clip_norm=1.0, noise_multiplier=1.0)},
     'Signs does not go with privacy=example_dp_sgd')])
def test_what_does_not_fit_is_refused_when_the_experiment_is_made(parts, match):
  with pytest.raises(ValueError, match=match):
    made(**parts)


@pytest.mark.parametrize(('build', 'match'), [
    (lambda: tv.Experiment('digits'), "task must be made by Task, found 'digits'"),
    (lambda: tv.Experiment(tv.testing.tiny_images()), 'task must be made by Task, found FederatedImages.$'),
    (lambda: made(participation=3), 'participation must be made by Fixed, Poisson, RoundRobin or Allocation, found 3'),
    (lambda: made(client=tv.sgd(0.1)), 'client must be made by Client, found Optimizer'),
    (lambda: made(privacy='dp'), 'privacy must be made by .*ExampleDpSgd'),
    (lambda: made(secure_sum='masks'), 'secure_sum must be made by .*Masks'),
    (lambda: made(runtime='local'), "runtime must be made by RuntimeConfig, found 'local'"),
    (lambda: made(rounds='5'), "rounds must be a number, found '5'"),
    (lambda: made(rounds=2.5), 'rounds must be a whole number, found 2.5'),
    (lambda: made(seed=1.5), 'seed must be a whole number, found 1.5'),
    (lambda: made(client=tv.Client(epochs=1.5)), 'client_epochs must be a whole number, found 1.5'),
    (lambda: tv.Client(tv.sgd('fast')), "client_learning_rate must be a number, found 'fast'"),
    (lambda: made(task=tv.Task(tv.testing.tiny_images(), model=network((8, 8, 1), 3))).ledger(),
     'model=.*is a model, but must be a func'),
    (lambda: tv.data.load('digits', partition='iid'), "partition must be made by Dirichlet, .*found 'iid'"),
    (lambda: tv.data.from_arrays([], test=None), 'from_arrays takes a mapping from client to .*found list'),
    (lambda: tv.data.from_arrays({'a': np.zeros((2, 8, 8))}, test=None), 'client a: must be a pair .x, y.'),
    (lambda: made(task=tv.Task(tv.testing.tiny_images(), objective=tv.Classification(loss='mse'))),
     'loss must be one of absolute, .*package.module:attrib'),
    (lambda: tv.testing.check_algorithm(SendsNothing()), 'SendsNothing.work must return a tff_vision.Work, found None'),
])
def test_a_part_of_the_wrong_kind_is_one_sentence(build, match):
  with pytest.raises((ValueError, AssertionError), match=match):
    build()


@pytest.mark.parametrize(('aggregator', 'parts', 'match'), [
    (tff.aggregators.MeanFactory(), {'participation': tv.Poisson(2), 'privacy': tv.ClientGaussian(
        clip_norm=1.0, noise_multiplier=1.0, delta=0.05)}, 'MeanFactory does not go with privacy=client_gaussian'),
    (tff.aggregators.SumFactory(), {'secure_sum': tv.Masks()}, 'SumFactory does not go with secure_sum=masks')])
def test_an_own_aggregator_is_never_silently_ignored(aggregator, parts, match, tmp_path):
  with pytest.raises(ValueError, match=match):
    made(aggregator=aggregator, **parts).run(tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_a_program_that_trains_nothing_ends_without_a_word():
  done = subprocess.run([sys.executable, '-c', 'import tff_vision.experiment'], capture_output=True, text=True,
                        check=False, timeout=120, stdin=subprocess.DEVNULL)
  assert done.returncode == 0 and 'Traceback' not in done.stderr, done.stderr


def test_references_lead_to_values_or_say_why_not(tmp_path, monkeypatch):
  monkeypatch.syspath_prepend(tmp_path)
  assert plugins.load('tests.test_api:network', field='model') is network
  with pytest.raises(ValueError, match='model=tests.no_module:x: there is no module'):
    plugins.load('tests.no_module:x', field='model')
  for source, said in (('import no_such_thing', 'model=newcomer:x: newcomer imports no_such_thing, but there is'),
                       ('raise SystemExit(3)', 'model=newcomer:x: importing newcomer fails with SystemExit: 3')):
    (tmp_path / 'newcomer.py').write_text(source)
    with pytest.raises(ValueError, match=said):
      plugins.load('newcomer:x', field='model')
  with pytest.raises(ValueError, match=r'model=net cannot be called as \(input_shape, num_classes, width=3\): .*width'):
    plugins.check_call(lambda shape, classes: None, {'width': 3}, setting='model=net',
                       positional=('input_shape', 'num_classes'))
  with pytest.raises(ValueError, match="model=tests.test_api:nothing: tests.test_api has no attribute 'nothing'"):
    plugins.load('tests.test_api:nothing', field='model')
  assert plugins.options(['a=1', 'b=x', 'c=(1, 2)'], field='o') == {'a': 1, 'b': 'x', 'c': (1, 2)}
  with pytest.raises(ValueError, match="o must be key=value, found 'a'"):
    plugins.options(['a'], field='o')


def test_the_contract_tests_ring():
  with pytest.raises(AssertionError, match='logits'):
    tv.testing.check_model(lambda shape, n: tf.keras.Sequential([
        tf.keras.layers.Input(shape), tf.keras.layers.Flatten(), tf.keras.layers.Dense(n, 'softmax')]))
  with pytest.raises(AssertionError, match='one number an example'):
    tv.testing.check_loss(lambda y, logits: tf.zeros([tf.shape(logits)[0], 3]) + logits)
  with pytest.raises(AssertionError, match='depends on the others'):
    tv.testing.check_loss(lambda y, logits: tf.reduce_mean(logits) + logits[:, 0])
  with pytest.raises(AssertionError, match='outside'):
    tv.testing.check_dataset(lambda config: tv.data.FederatedImages(
        name='x', class_names=('a',), train=tv.testing.tiny_images().train, test=tv.testing.tiny_images().test))
  tv.testing.check_dataset(tv.testing.tiny_images())
  tv.testing.check_aggregator(tff.aggregators.MeanFactory())


def test_a_config_of_an_older_schema_has_the_defaults_of_new_fields():
  content = json.loads(configs.to_json(configs.ExperimentConfig()))
  del content['schema'], content['model']['model_option'], content['task']['loss']
  assert configs.from_json(json.dumps(content)) == configs.ExperimentConfig()
  for wrong, match in (({**content, 'schema': 99}, 'schema 99'), ({**content, 'schema': 2}, 'lacks'),
                       ({name: part for name, part in content.items() if name != 'client'}, 'client')):
    with pytest.raises(ValueError, match=match):
      configs.from_json(json.dumps(wrong))



def test_a_loss_that_mixes_examples_is_taken_one_by_one_where_examples_are_promised_something():
  """A loss over the whole batch would tell of the others; in a batch of one it cannot."""
  mixing = lambda y, logits: tf.reduce_sum(logits) * tf.reduce_mean(logits, axis=1)
  for loss, ghost in ((None, True), (mixing, False)):
    parts = made(task=tv.Task(tv.testing.tiny_images(), model='linear', objective=tv.Classification(loss=loss)),
                 privacy=tv.ExampleDpSgd(clip_norm=1.0, noise_multiplier=1.0, delta=0.01))
    assert parts.ledger().examples.gradients.ghost is ghost
