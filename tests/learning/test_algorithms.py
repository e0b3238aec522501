"""Every algorithm beside an independent implementation in numpy, over rounds with cohorts that differ."""

import numpy as np
import pytest
import tensorflow as tf

from tests.learning import numpy_algorithms
from tests.learning.tiny_experiments import COHORTS, experiment, flat, kept, model, oracle, train
from tff_vision import configs
from tff_vision.learning import client_data


def close(found, expected, atol=1e-5):
  np.testing.assert_allclose(found, expected, atol=atol, rtol=0)


@pytest.fixture(scope='module')
def averaged(tff_runtime):
  """FedAvg over COHORTS."""
  trainer = experiment('fedavg').prepare()
  found, *_ = train(trainer)
  close(found, numpy_algorithms.fedavg(oracle(trainer)))
  return found


def test_scaffold(averaged, tff_runtime, tmp_path):
  trainer = experiment('scaffold').prepare(client_states=tmp_path)
  expected, controls = numpy_algorithms.scaffold(oracle(trainer))
  found, *_ = train(trainer)
  close(found, expected)
  for client in range(4):
    close(flat(kept(trainer, client)), controls[client])
  assert np.abs(found - averaged).max() > 1e-3, 'controls that change nothing'


def test_scaffold_with_zero_controls_is_fedavg(averaged, tff_runtime):
  trainer = experiment('scaffold', weighting='uniform').prepare()
  trainer.states.write = lambda client, round_num, value: None
  # Every client comes as for the first time, and the server's control is forgotten between rounds.
  state = trainer.begin()
  for round_num, cohort in enumerate(COHORTS, start=1):
    state = trainer.next(state, round_num, cohort).state
    state.finalizer['algorithm'] = tf.nest.map_structure(np.zeros_like, state.finalizer['algorithm'])
  close(flat(trainer.weights(state).trainable), model('fedavg', weighting='uniform'), atol=1e-7)


def test_fednova(tff_runtime):
  trainer = experiment('fednova', client={'client_optimizer': 'sgdm', 'client_momentum': 0.7},
                       proximal_strength=0.5).prepare()
  close(train(trainer)[0], numpy_algorithms.fednova(oracle(trainer), momentum=0.7, mu=0.5))


def test_fednova_with_equal_steps_is_fedavg(averaged, tff_runtime):
  trainer = experiment('fednova').prepare()
  found, *_ = train(trainer)
  close(found, numpy_algorithms.fednova(oracle(trainer)))
  assert np.abs(found - averaged).max() > 1e-3, 'unequal steps must matter'
  equal = (8, 7, 8, 7)  # Four batches each, of other sizes.
  close(model('fednova', sizes=equal), model('fedavg', sizes=equal), atol=1e-6)


def test_feddyn(tff_runtime, tmp_path):
  trainer = experiment('feddyn', feddyn_strength=0.3).prepare(client_states=tmp_path)
  expected, linear = numpy_algorithms.feddyn(oracle(trainer), 0.3)
  close(train(trainer)[0], expected)
  for client in range(4):
    close(flat(kept(trainer, client)), linear[client])


def test_mime_lite(tff_runtime):
  trainer = experiment('mime_lite', mime_momentum=0.8).prepare()
  close(train(trainer)[0], numpy_algorithms.mime_lite(oracle(trainer), 0.8))


def test_fedsgd(tff_runtime):
  trainer = experiment('fedsgd', server=configs.ServerConfig(server_learning_rate=0.5)).prepare()
  close(train(trainer)[0], numpy_algorithms.fedsgd(oracle(trainer), 0.5))


def test_fedbuff(tff_runtime):
  begun = [{0: 1, 1: 1, 3: 1}, {1: 2, 2: 1}, {0: 2, 2: 1, 3: 3}]
  trainer = experiment('fedbuff', max_staleness=2).prepare()
  trainer = trainer.with_data(client_data.LateData(
      data=client_data.SentData(task=trainer.task), begun=lambda client, round_num: begun[round_num - 1][client]))
  close(train(trainer)[0], numpy_algorithms.fedbuff(oracle(trainer), begun))


def test_schedules_clipping_decay_and_momentum(tff_runtime):
  trainer = experiment('fedavg', weighting='uniform', client={
      'client_optimizer': 'sgdm', 'client_momentum': 0.5, 'client_gradient_clip': 0.3, 'client_weight_decay': 0.1},
                       schedule=configs.ScheduleConfig(client_schedule='cosine', schedule_final=0.2,
                                                       server_schedule='step', schedule_step_rounds=1,
                                                       server_warmup_rounds=2)).prepare()
  # Round 1, 2, 3 of 3: half a cosine from 1 to 0.2; halved every round, over a rise of two rounds.
  rates = [0.1 * (0.2 + 0.8 * (1 + np.cos(np.pi * k / 3)) / 2) for k in range(3)]
  close(train(trainer)[0], numpy_algorithms.fedavg(oracle(trainer, weighting='uniform'), momentum=0.5, rates=rates,
                                                   server_rates=[0.5, 0.5, 0.25]))
