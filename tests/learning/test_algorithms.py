"""Every algorithm beside an independent implementation in numpy, over rounds with cohorts that differ."""

import numpy as np
import pytest

from tests.learning import numpy_algorithms
from tests.learning.composed import COHORTS, Run, forget
from tff_vision import configs


def close(found, expected, atol=1e-5):
  np.testing.assert_allclose(found, expected, atol=atol, rtol=0)


@pytest.fixture(scope='module')
def averaged(tff_runtime):
  """FedAvg over COHORTS."""
  run = Run('fedavg')
  found = run.train(COHORTS)
  close(found, numpy_algorithms.fedavg(run.oracle()))
  return found


def test_scaffold(averaged, tff_runtime, tmp_path):
  run = Run('scaffold', folder=tmp_path)
  expected, controls = numpy_algorithms.scaffold(run.oracle())
  found = run.train(COHORTS)
  close(found, expected)
  for client in range(4):
    close(np.concatenate([c.ravel() for c in run.store.read(client, 99)]), controls[client])
  assert np.abs(found - averaged).max() > 1e-3, 'controls that change nothing'


def test_scaffold_with_zero_controls_is_fedavg(averaged, tff_runtime, tmp_path):
  run = Run('scaffold', folder=tmp_path, weighting='uniform')
  run.store.write = lambda client, round_num, value: None
  # Every client comes as for the first time, and the server's control is forgotten between rounds.
  state = run.begin()
  for r, cohort in enumerate(COHORTS, start=1):
    state = run.next(state, r, cohort)
    state.finalizer['algorithm'] = forget(state.finalizer['algorithm'])
  close(run.model(state), Run('fedavg', weighting='uniform').train(COHORTS), atol=1e-7)


def test_fednova(tff_runtime):
  run = Run('fednova', client={'client_optimizer': 'sgdm', 'client_momentum': 0.7}, strength=0.5)
  close(run.train(COHORTS), numpy_algorithms.fednova(run.oracle(), momentum=0.7, mu=0.5))


def test_fednova_with_equal_steps_is_fedavg(averaged, tff_runtime):
  run = Run('fednova')
  found = run.train(COHORTS)
  close(found, numpy_algorithms.fednova(run.oracle()))
  assert np.abs(found - averaged).max() > 1e-3, 'unequal steps must matter'
  equal = (8, 7, 8, 7)  # Four batches each, of other sizes.
  close(Run('fednova', sizes=equal).train(COHORTS), Run('fedavg', sizes=equal).train(COHORTS), atol=1e-6)


def test_feddyn(tff_runtime, tmp_path):
  run = Run('feddyn', folder=tmp_path, feddyn_strength=0.3)
  expected, linear = numpy_algorithms.feddyn(run.oracle(), 0.3)
  close(run.train(COHORTS), expected)
  for client in range(4):
    close(np.concatenate([g.ravel() for g in run.store.read(client, 99)]), linear[client])


def test_mime_lite(tff_runtime):
  run = Run('mime_lite', mime_momentum=0.8)
  close(run.train(COHORTS), numpy_algorithms.mime_lite(run.oracle(), 0.8))


def test_fedsgd(tff_runtime):
  run = Run('fedsgd', server=configs.ServerConfig(server_learning_rate=0.5))
  close(run.train(COHORTS), numpy_algorithms.fedsgd(run.oracle(), 0.5))


def test_fedbuff(tff_runtime):
  begun = [{0: 1, 1: 1, 3: 1}, {1: 2, 2: 1}, {0: 2, 2: 1, 3: 3}]
  run = Run('fedbuff', max_staleness=2, begun=lambda client, round_num: begun[round_num - 1][client])
  close(run.train(COHORTS), numpy_algorithms.fedbuff(run.oracle(), begun))


def test_schedules_clipping_decay_and_momentum(tff_runtime):
  run = Run('fedavg', weighting='uniform', client={
      'client_optimizer': 'sgdm', 'client_momentum': 0.5, 'client_gradient_clip': 0.3, 'client_weight_decay': 0.1},
            schedule=configs.ScheduleConfig(client_schedule='cosine', schedule_final=0.2, server_schedule='step',
                                            schedule_step_rounds=1, server_warmup_rounds=2))
  # Round 1, 2, 3 of 3: half a cosine from 1 to 0.2; halved every round, over a rise of two rounds.
  rates = [0.1 * (0.2 + 0.8 * (1 + np.cos(np.pi * k / 3)) / 2) for k in range(3)]
  close(run.train(COHORTS), numpy_algorithms.fedavg(run.oracle(weighting='uniform'), momentum=0.5, rates=rates,
                                                    server_rates=[0.5, 0.5, 0.25]))
