"""An algorithm on the tiny task with everything that it may be composed with, as `experiment.run` puts it together."""

import contextlib
import functools

import numpy as np
import tensorflow as tf

from tests import tiny
from tests.learning import numpy_algorithms
from tff_vision import configs
from tff_vision.aggregation import secured
from tff_vision.client_state import driver, store
from tff_vision.data import records
from tff_vision.learning import client_data, learning_process
from tff_vision.privacy import plan as plan_lib

COHORTS = [[0, 1, 3], [1, 2], [0, 2, 3]]
SIZES = (7, 12, 3, 9)


class Run:
  """One algorithm, ready to train.

  Attributes:
    store: What clients keep; None where they keep nothing.
    state: The server's, after `train`.
    measured: What the last round's clients told of their training.
  """

  def __init__(self, algorithm, *, folder=None, sizes=SIZES, rounds=3, schedule=None, server=None, weighting='examples',
               strength=None, client=None, builder=tiny.linear, secure='none', place=None, data_on_workers=False,
               begun=None, **settings):
    """Args: `begun(client, round_num)` is the round in which a late client began; `place` is the open runtime."""
    self.client = configs.ClientConfig(batch_size=4, client_learning_rate=0.1,
                                       **{'client_epochs': 1 if algorithm == 'fedsgd' else 2, **(client or {})})
    self.task = tiny.task(builder, sizes=sizes, **{name: getattr(self.client, name) for name in (
        'client_learning_rate', 'client_epochs', 'batch_size')})
    config = configs.AlgorithmConfig(algorithm=algorithm, client_weighting=weighting, proximal_strength=strength,
                                     **settings)
    build = functools.partial(learning_process.build_process, self.task, algorithm=config, client=self.client,
                              rounds=rounds,
                              server=server or configs.ServerConfig(), schedule=schedule or configs.ScheduleConfig())
    self.data = client_data.SentData(task=self.task)
    if data_on_workers:
      for i in range(len(sizes)):
        records.write(folder / records.file_name(i), self.task.images.train.examples(i))
      self.data = client_data.WorkerData(task=self.task, folder=str(folder))
      plain, build = build, lambda **layers: self.data.read_on_workers(plain(**layers))
    hidden = configs.SecureConfig(secure_sum=secure, secure_clients_max=4, secure_bits=20, secure_range=8.0,
                                  key_holder_dir=str(folder / 'keys') if secure == 'he_keyholder' else None)
    self.process = secured.build_process(hidden, plan_lib.NoPrivacy(sampler=lambda round_num: np.arange(4)), build,
                                         tells=learning_process.tells(self.task, config), place=place)
    if algorithm == 'fedbuff':
      self.data = client_data.LateData(data=self.data, begun=begun or (lambda client, round_num: round_num))
    self.store = None
    if (kept := learning_process.kept_at_first(self.task, config, self.client)) is not None:
      self.store = store.Store(folder / 'states', kept)
      self.process = driver.KeptStateProcess(self.process, self.store)
      self.data = driver.NumberedData(self.data)

  def begin(self):
    """Returns the state before round 1."""
    return self.process.set_model_weights(self.process.initialize(), self.task.initial_weights())

  def next(self, state, round_num, cohort, runtime=None):
    """Returns the state after one round."""
    place = runtime.cohort(cohort, population=4) if runtime else contextlib.nullcontext()
    with place:
      output = self.process.next(state, [self.data.request(client, round_num) for client in cohort])
    self.measured = dict(output.metrics['client_work']['train'])
    return output.state

  def train(self, cohorts, runtime=None):
    """Returns the model as one vector."""
    state = self.begin()
    for round_num, cohort in enumerate(cohorts, start=1):
      state = self.next(state, round_num, cohort, runtime)
    self.state = state
    return self.model(state)

  def model(self, state):
    return np.concatenate([np.asarray(w).ravel() for w in self.process.get_model_weights(state).trainable])

  def oracle(self, weighting='examples'):
    """Returns what the algorithms in numpy take, over COHORTS."""
    return numpy_algorithms.Oracle(self.task, COHORTS, rate=0.1, weighting=weighting,
                                   clip=self.client.client_gradient_clip, decay=self.client.client_weight_decay)


def forget(server_state):
  """Returns zeros in place of what an algorithm's server remembers."""
  return tf.nest.map_structure(np.zeros_like, server_state)
