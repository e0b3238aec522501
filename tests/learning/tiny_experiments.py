"""Experiments on the tiny images, driven round by round through the public trainer."""

import numpy as np

import tff_vision as tv
from tests import tiny
from tests.learning import numpy_algorithms
from tff_vision import configs

COHORTS = [[0, 1, 3], [1, 2], [0, 2, 3]]
SIZES = (7, 12, 3, 9)
RATE = 0.1


def experiment(algorithm, *, sizes=SIZES, builder=tiny.linear, client=None, secure=None, server=None, schedule=None,
               runtime=None, rounds=3, weighting='examples', **settings):
  """Returns an algorithm over clients of these sizes; `settings` are fields of its config."""
  client = {'client_epochs': 1 if algorithm == 'fedsgd' else 2, **(client or {})}
  # Late updates come from devices that are asked beside those that are waited for.
  late = {'over_selection': 1.5} if algorithm == 'fedbuff' else {}
  return tv.Experiment(
      tv.Task(tiny.federated_images(sizes), model=builder), seed=5, rounds=rounds,
      algorithm=configs.AlgorithmConfig(algorithm=algorithm, client_weighting=weighting, **settings),
      client=configs.ClientConfig(batch_size=4, client_learning_rate=RATE, **client),
      server=server or configs.ServerConfig(), schedule=schedule or configs.ScheduleConfig(),
      participation=configs.CohortConfig(cohort_size=min(2, len(sizes)) if late else len(sizes), **late),
      secure_sum=secure or configs.SecureConfig(), runtime=runtime or tv.RuntimeConfig())


def hidden(mode, folder):
  """Returns a secure sum that rounds little."""
  return configs.SecureConfig(secure_sum=mode, secure_clients_max=4, secure_bits=20, secure_range=8.0,
                              key_holder_dir=str(folder / 'keys') if mode == 'he_keyholder' else None)


def train(trainer, cohorts=COHORTS):
  """Returns the model after these cohorts as one vector, the state, and what the last round measured."""
  state = trainer.begin()
  for round_num, cohort in enumerate(cohorts, start=1):
    output = trainer.next(state, round_num, cohort)
    state = output.state
  return flat(trainer.weights(state).trainable), state, dict(output.metrics['client_work']['train'])


def model(algorithm, **parts):
  """Returns the model that an algorithm trains over `COHORTS`, as one vector."""
  return train(experiment(algorithm, **parts).prepare())[0]


def flat(weights):
  return np.concatenate([np.ravel(weight) for weight in weights])


def kept(trainer, client):
  """Returns what a client keeps at the end."""
  return trainer.states.read(client, 99)


def oracle(trainer, weighting='examples'):
  """Returns what the algorithms in numpy take, over `COHORTS`."""
  client = trainer.task.client
  return numpy_algorithms.Oracle(trainer.task, COHORTS, rate=RATE, weighting=weighting,
                                 clip=client.client_gradient_clip, decay=client.client_weight_decay)
