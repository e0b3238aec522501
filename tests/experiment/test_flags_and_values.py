"""The same experiment as flags and as values is the same: equal descriptions, equal weights, one folder for both."""

import dataclasses
import json

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

import tff_vision as tv
from flags import experiment_flags, groups
from tff_vision import configs, experiment


def from_flags(*given):
  """Returns the experiment that a command line describes."""
  groups.define(experiment_flags.GROUPS)
  with flagsaver.flagsaver():
    flags.FLAGS(['train', *given])
    return experiment.from_config(experiment_flags.experiment_config())


def digits(*, partition=None, seed=0, task=None, **parts):
  images = tv.data.load('digits', partition=partition, seed=seed)
  return tv.Experiment(tv.Task(images, **({'model': 'linear'} | (task or {}))), seed=seed, **parts)


_PRIVATE = {'clip_norm': 0.5, 'noise_multiplier': 1.0, 'delta': 1e-2}
_PRIVATE_FLAGS = ('--clip_norm=0.5', '--noise_multiplier=1', '--delta=0.01')
PAIRS = {
    'defaults': (('--model=linear',), lambda: digits()),
    'partition and seed': (('--model=linear', '--partition=shards', '--classes_per_client=3', '--num_clients=5',
                            '--seed=7'), lambda: digits(partition=tv.Shards(3, clients=5), seed=7)),
    'optimizers': (('--model=cnn', '--partition=iid', '--num_clients=6', '--client_optimizer=sgdm',
                    '--client_momentum=0.5', '--client_learning_rate=0.05', '--batch_size=8', '--client_epochs=2',
                    '--server_optimizer=adam', '--server_learning_rate=0.01', '--rounds=3'),
                   lambda: digits(task={'model': 'cnn'}, partition=tv.Iid(6), rounds=3, server=tv.Server(tv.adam(0.01)),
                                  client=tv.Client(tv.sgd(0.05, momentum=0.5), epochs=2, batch_size=8))),
    'client privacy': (('--model=linear', '--privacy=client_gaussian', '--sampling=poisson', '--cohort_size=4',
                        *_PRIVATE_FLAGS),
                       lambda: digits(participation=tv.Poisson(4), privacy=tv.ClientGaussian(**_PRIVATE))),
    'correlated noise': (('--model=linear', '--privacy=dp_mf', '--mf_strategy=banded', '--sampling=round_robin',
                          '--cohort_size=4', *_PRIVATE_FLAGS),
                         lambda: digits(participation=tv.RoundRobin(4),
                                        privacy=tv.MatrixFactorization(strategy='banded', **_PRIVATE))),
    'masks': (('--model=linear', '--privacy=distributed_gaussian', '--secure_sum=masks', '--cohort_size=4',
               *_PRIVATE_FLAGS),
              lambda: digits(participation=tv.Fixed(4), privacy=tv.DistributedGaussian(**_PRIVATE),
                             secure_sum=tv.Masks())),
    'encryption': (('--model=linear', '--secure_sum=he', '--aggregator=norm_clipping', '--update_norm_bound=1'),
                   lambda: digits(secure_sum=tv.ThresholdEncryption(), aggregator=configs.AggregationConfig(
                       aggregator='norm_clipping', update_norm_bound=1.0))),
    'example privacy': (('--model=linear', '--privacy=example_dp_sgd', *_PRIVATE_FLAGS),
                        lambda: digits(privacy=tv.ExampleDpSgd(**_PRIVATE))),
    'embedding': (('--model=linear', '--task=embedding', '--embedding_size=8'),
                  lambda: digits(task={'objective': tv.Embedding(8)})),
}


@pytest.mark.parametrize('name', PAIRS)
def test_both_are_described_alike(name):
  given, build = PAIRS[name]
  ours, theirs = build(), from_flags(*given)
  assert json.loads(json.dumps(ours.describe())) == json.loads(json.dumps(theirs.describe()))
  assert ours.config == theirs.config and ours.fingerprint == theirs.fingerprint


def test_both_train_to_the_same_bit_and_go_on_in_each_others_folders(tmp_path):
  given = ('--model=linear', '--num_clients=6', '--cohort_size=3', '--client_epochs=1', '--rounds=2', '--seed=3')
  build = lambda: digits(partition=tv.Dirichlet(1.0, clients=6), participation=tv.Fixed(3), client=tv.Client(epochs=1),
                         rounds=2, seed=3)
  whole = from_flags(*given).run(tmp_path / 'flags')
  assert build().run(tmp_path / 'stopped', stop_requested=lambda: True).report is None
  rest = from_flags(*given).run(tmp_path / 'stopped')
  for one, other in zip(whole.model.get_weights(), rest.model.get_weights(), strict=True):
    np.testing.assert_array_equal(one, other)
  assert whole.evaluation == rest.evaluation == experiment.open_run(tmp_path / 'stopped').report['evaluation']


def test_images_of_another_seed_or_changed_since_are_no_longer_those_of_a_name():
  images = tv.data.load('digits', partition=tv.Iid(4), seed=1)
  named = tv.Experiment(tv.Task(images, model='linear'), seed=1).describe()['data']
  assert named['dataset'] == 'digits' and named['partition'] == 'iid'
  other = tv.Experiment(tv.Task(images, model='linear'), seed=2).describe()['data']
  assert other['dataset']['loaded_by']['seed'] == 1
  changed = dataclasses.replace(images, preprocessing=tv.data.Preprocessing(pixels='invert'))
  described = tv.Experiment(tv.Task(changed, model='linear'), seed=1).describe()['data']['dataset']
  assert 'loaded_by' not in described and described['preprocessing']['pixels'] == 'invert'
