"""Every algorithm beside an independent implementation in numpy, over rounds with cohorts that differ."""

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.learning import numpy_algorithms
from tff_vision import configs
from tff_vision.aggregation import stack
from tff_vision.client_state import driver, store
from tff_vision.learning import client_data, process
from tff_vision.privacy import plan

COHORTS = [[0, 1, 3], [1, 2], [0, 2, 3]]
SIZES = (7, 12, 3, 9)


class Run:
  """One algorithm on the tiny task."""

  def __init__(self, algorithm, *, folder=None, sizes=SIZES, rounds=3, schedule=None, server=None, weighting='examples',
               strength=None, client=None, builder=tiny.linear, **settings):
    self.client = configs.ClientConfig(batch_size=4, client_learning_rate=0.1,
                                       **{'client_epochs': 2, **(client or {})})
    self.task = tiny.task(builder, sizes=sizes, **{name: getattr(self.client, name) for name in (
        'client_learning_rate', 'client_epochs', 'batch_size')})
    config = configs.AlgorithmConfig(algorithm=algorithm, client_weighting=weighting, proximal_strength=strength,
                                     **settings)
    self.process = process.build_process(
        self.task, algorithm=config, client=self.client, server=server or configs.ServerConfig(), rounds=rounds,
        schedule=schedule or configs.ScheduleConfig(),
        aggregator=stack.build_stack(plan.NoPrivacy(sampler=lambda round_num: np.arange(4))))
    self.data = client_data.SentData(task=self.task)
    self.store = None
    if (kept := process.kept_at_first(self.task, config, self.client)) is not None:
      self.store = store.Store(folder, kept)
      self.process = driver.KeptStateProcess(self.process, self.store)
      self.data = driver.NumberedData(self.data)

  def train(self, cohorts, begun=None):
    """Returns the model as one vector."""
    state = self.process.set_model_weights(self.process.initialize(), self.task.initial_weights())
    for r, cohort in enumerate(cohorts, start=1):
      if begun is None:
        data = [self.data.request(client, r) for client in cohort]
      else:
        data = [(self.task.client_dataset(i, begun[r - 1][i]),
                 tf.data.Dataset.from_tensors(np.int32(r - begun[r - 1][i]))) for i in cohort]
      state = self.process.next(state, data).state
    self.state = state
    return np.concatenate([np.asarray(w).ravel() for w in self.process.get_model_weights(state).trainable])

  def oracle(self, cohorts=COHORTS, weighting='examples'):
    return numpy_algorithms.Oracle(self.task, cohorts, rate=0.1, weighting=weighting,
                                   clip=self.client.client_gradient_clip, decay=self.client.client_weight_decay)


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
  state = run.process.set_model_weights(run.process.initialize(), run.task.initial_weights())
  plain = Run('fedavg', weighting='uniform')
  for r, cohort in enumerate(COHORTS, start=1):
    state = run.process.next(state, [run.data.request(client, r) for client in cohort]).state
    state.finalizer['algorithm'] = tf.nest.map_structure(np.zeros_like, state.finalizer['algorithm'])
  close(np.concatenate([np.asarray(w).ravel() for w in run.process.get_model_weights(state).trainable]),
        plain.train(COHORTS), atol=1e-7)


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


@pytest.mark.parametrize('weighting', ['examples', 'uniform'])
def test_feddyn(tff_runtime, tmp_path, weighting):
  run = Run('feddyn', folder=tmp_path, feddyn_strength=0.3, weighting=weighting)
  expected, linear = numpy_algorithms.feddyn(run.oracle(weighting=weighting), 0.3)
  close(run.train(COHORTS), expected)
  for client in range(4):
    close(np.concatenate([g.ravel() for g in run.store.read(client, 99)]), linear[client])


def test_mime_lite(tff_runtime):
  run = Run('mime_lite', mime_momentum=0.8)
  close(run.train(COHORTS), numpy_algorithms.mime_lite(run.oracle(), 0.8))


def test_fedsgd(tff_runtime):
  run = Run('fedsgd', client={'client_epochs': 1}, server=configs.ServerConfig(server_learning_rate=0.5))
  close(run.train(COHORTS), numpy_algorithms.fedsgd(run.oracle(), 0.5))


def test_fedbuff(tff_runtime):
  run = Run('fedbuff', max_staleness=2)
  begun = [{0: 1, 1: 1, 3: 1}, {1: 2, 2: 1}, {0: 2, 2: 1, 3: 3}]
  close(run.train(COHORTS, begun), numpy_algorithms.fedbuff(run.oracle(), begun))


def test_schedules_clipping_decay_and_momentum(tff_runtime):
  run = Run('fedavg', weighting='uniform', client={
      'client_optimizer': 'sgdm', 'client_momentum': 0.5, 'client_gradient_clip': 0.3, 'client_weight_decay': 0.1},
            schedule=configs.ScheduleConfig(client_schedule='cosine', schedule_final=0.2, server_schedule='step',
                                            schedule_step_rounds=1, server_warmup_rounds=2))
  # Round 1, 2, 3 of 3: half a cosine from 1 to 0.2; halved every round, over a rise of two rounds.
  rates = [0.1 * (0.2 + 0.8 * (1 + np.cos(np.pi * k / 3)) / 2) for k in range(3)]
  close(run.train(COHORTS), numpy_algorithms.fedavg(run.oracle(weighting='uniform'), momentum=0.5, rates=rates,
                                                    server_rates=[0.5, 0.5, 0.25]))
