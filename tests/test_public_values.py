"""Each public name of `tff_vision` gives what its documents say; a new name without a line here fails."""

import dataclasses
import inspect
import pickle
import typing

import numpy as np
import pytest

import tff_vision as tv
from tff_vision import configs, values
from tff_vision.configs import budget_file_config

_NOISE = {'clip_norm': 0.5, 'noise_multiplier': 1.5, 'delta': 1e-3}
_CALIBRATED = {'clip_norm': 0.5, 'target_epsilon': 2.0, 'delta': 1e-3}
# Name -> (positional arguments, named ones, what they must make).
VALUES = {
    'sgd': ((0.3,), {'momentum': 0.5}, values.Optimizer('sgdm', 0.3, (('momentum', 0.5),))),
    'adam': ((0.1,), {'epsilon': 1e-4}, values.Optimizer('adam', 0.1, (('epsilon', 1e-4),))),
    'yogi': ((0.1,), {}, values.Optimizer('yogi', 0.1)),
    'adagrad': ((0.1,), {'epsilon': 1e-2}, values.Optimizer('adagrad', 0.1, (('epsilon', 1e-2),))),
    'adamw': ((0.1,), {'weight_decay': 0.01}, values.Optimizer('adamw', 0.1, (('weight_decay', 0.01),))),
    'Client': ((values.Optimizer('adam', 0.01),), {'epochs': 2, 'batch_size': 7, 'gradient_clip': 1.0,
                                                  'weight_decay': 0.1, 'loss_scale': 'dynamic'},
               configs.ClientConfig(client_optimizer='adam', client_learning_rate=0.01, client_epochs=2, batch_size=7,
                                    client_gradient_clip=1.0, client_weight_decay=0.1, loss_scale='dynamic')),
    'Server': ((values.Optimizer('adamw', 0.5, (('weight_decay', 0.01),)),), {},
               configs.ServerConfig(server_optimizer='adamw', server_learning_rate=0.5, server_weight_decay=0.01)),
    'Fixed': ((7,), {}, configs.CohortConfig(sampling='fixed', cohort_size=7)),
    'Poisson': ((7,), {}, configs.CohortConfig(sampling='poisson', cohort_size=7)),
    'RoundRobin': ((7,), {}, configs.CohortConfig(sampling='round_robin', cohort_size=7)),
    'Allocation': ((7,), {}, configs.CohortConfig(sampling='allocation', cohort_size=7)),
    'ClientGaussian': ((), {**_NOISE, 'metrics_noise_multiplier': 4.0}, configs.PrivacyConfig(
        privacy='client_gaussian', metrics_noise_multiplier=4.0, **_NOISE)),
    'MatrixFactorization': ((), {**_CALIBRATED, 'strategy': 'banded'}, configs.PrivacyConfig(
        privacy='dp_mf', mf_strategy='banded', **_CALIBRATED)),
    'DistributedGaussian': ((), _NOISE, configs.PrivacyConfig(privacy='distributed_gaussian', **_NOISE)),
    'ExampleDistributed': ((), {**_NOISE, 'noise_survivors': 2}, configs.PrivacyConfig(
        privacy='example_distributed', noise_survivors=2, **_NOISE)),
    'ExampleDpSgd': ((), _CALIBRATED, configs.PrivacyConfig(privacy='example_dp_sgd', **_CALIBRATED)),
    'ThresholdEncryption': ((), {}, configs.SecureConfig(secure_sum='he')),
    'Masks': ((), {}, configs.SecureConfig(secure_sum='masks')),
    'KeyHolderEncryption': (('keys',), {}, configs.SecureConfig(secure_sum='he_keyholder', key_holder_dir='keys')),
    'BudgetFile': (('budget.json',), {'epsilon': 3.0, 'delta': 1e-4, 'unit': 'client'},
                   budget_file_config.BudgetFileConfig(budget_file='budget.json', budget_epsilon=3.0, budget_delta=1e-4,
                                                       budget_unit='client')),
    'Natural': ((), {}, configs.DataConfig(partition='natural')),
    'Iid': ((5,), {}, configs.DataConfig(partition='iid', num_clients=5)),
    'Dirichlet': ((0.3,), {'clients': 5}, configs.DataConfig(partition='dirichlet', partition_alpha=0.3,
                                                            num_clients=5)),
    'Shards': ((2,), {'clients': 5}, configs.DataConfig(partition='shards', classes_per_client=2, num_clients=5)),
    'Classification': ((), {}, configs.TaskConfig()),
    'Detection': ((), {}, configs.TaskConfig(task='detection')),
    'Embedding': ((8,), {}, configs.TaskConfig(task='embedding', embedding_size=8)),
    'Segmentation': ((), {'class_weights': (1.0, 2.0), 'dice_weight': 0.5}, configs.TaskConfig(
        task='segmentation', class_weights=(1.0, 2.0), dice_weight=0.5)),
}
# What other tests run: where.
ELSEWHERE = {'Ledger', 'Experiment', 'RunResult', 'Trainer', 'OwnWork', 'open_runtime', 'Metric',
             'Algorithm', 'Work', 'Task', 'RuntimeConfig', 'show_progress', 'data',
             'testing', '__version__'}


def section_of(made):
  """Returns the section of a config that a value stands for."""
  if isinstance(made, values.Partition):
    return configs.DataConfig(**dict(made.fields))
  if isinstance(made, (values.Classification, values.Detection, values.Embedding, values.Segmentation)):
    return values.Task('digits', objective=made).sections(0)['task']
  return made


def test_every_public_name_is_tested():
  assert set(VALUES) | ELSEWHERE == set(tv.__all__)


@pytest.mark.parametrize('name', VALUES)
def test_a_value_is_what_it_says(name):
  positional, named, expected = VALUES[name]
  value = getattr(tv, name)
  assert section_of(value(*positional, **named)) == expected
  signature = inspect.signature(value)
  assert all(parameter.annotation is not inspect.Parameter.empty for parameter in signature.parameters.values())
  assert not any(parameter.kind == inspect.Parameter.VAR_KEYWORD for parameter in signature.parameters.values())


def test_the_experiment_is_frozen_and_annotated_and_takes_its_parts_by_name():
  made = tv.Experiment(tv.Task('digits', model='linear'))
  with pytest.raises(dataclasses.FrozenInstanceError):
    made.rounds = 3
  with pytest.raises(TypeError):
    tv.Experiment(made.task, 'fedavg')
  assert set(typing.get_type_hints(tv.Experiment)) >= {field.name for field in dataclasses.fields(made)}
  for name, method in inspect.getmembers(tv.Experiment, inspect.isfunction):
    if not name.startswith('_'):
      hints = typing.get_type_hints(method)
      assert 'return' in hints and set(inspect.signature(method).parameters) - {'self'} <= set(hints), name
  assert dataclasses.replace(made, rounds=3).config.program.rounds == 3


def test_a_tasks_model_and_images_may_be_sections_of_a_config():
  task = tv.Task(configs.DataConfig(num_clients=5), model=configs.ModelConfig(model='linear'),
                 objective=configs.TaskConfig())
  config = tv.Experiment(task).config
  assert config.data.num_clients == 5 and config.model.model == 'linear'


def test_client_data_of_tff_becomes_images():
  class Data:
    """As `tff.simulation.datasets.ClientData`."""
    client_ids = ('a', 'b')

    def create_tf_dataset_for_client(self, client):
      import tensorflow as tf
      return tf.data.Dataset.from_tensor_slices(
          {'pixels': np.full((3, 8, 8), ord(client), np.uint8), 'label': np.arange(3)})

  images = tv.data.from_client_data(Data(), Data())
  assert [int(images.train.examples(i).x[0, 0, 0, 0]) for i in range(2)] == [ord('a'), ord('b')]


def test_progress_is_one_line_a_round(capsys):
  tv.show_progress({'round': 3, 'train': {'loss': 0.5}, 'evaluation': {'accuracy': 0.75}, 'privacy': {'epsilon': 1.25}})
  assert capsys.readouterr().out == 'round 3  loss 0.5  test accuracy 0.75  epsilon 1.25\n'


@pytest.mark.parametrize(('build', 'match'), [
    (lambda: tv.Client(tv.yogi(0.1)), 'client_optimizer must be one of'),
    (lambda: tv.Client(tv.adam(0.1, epsilon=0.1)), 'adam on the client does not read client_epsilon'),
    (lambda: tv.Server(tv.sgd(-1.0)), 'server_learning_rate'),
    (lambda: tv.Poisson(0), 'cohort_size'),
    (lambda: tv.data.load('digits', partition=tv.Shards(0, clients=3)), 'classes_per_client'),
    (lambda: tv.ClientGaussian(clip_norm=1.0, noise_multiplier=1.0, target_epsilon=1.0), 'target_epsilon'),
    (lambda: tv.BudgetFile('x', epsilon=-1.0), 'budget_epsilon'),
    (lambda: tv.BudgetFile('x', unit='house'), 'budget_unit'),
    (lambda: tv.Experiment(tv.Task('digits'), budget='budget.json'), 'budget must be made by BudgetFile'),
    (lambda: tv.data.load('digitz'), 'digitz')])
def test_an_illegal_value_is_one_sentence(build, match):
  with pytest.raises(ValueError, match=match):
    build()


def test_an_experiment_is_copied_to_other_processes_also_when_it_was_used():
  made = tv.Experiment(tv.Task(tv.testing.tiny_images(), model='linear'), participation=tv.Fixed(3), rounds=1)
  assert made.plan() and made.describe()
  copied = pickle.loads(pickle.dumps(made))
  assert copied.describe() == made.describe() and copied.fingerprint == made.fingerprint
