"""Learning rates by round: factors on the rate of the config, as built-in TensorFlow kernels."""

import math
from collections.abc import Callable, Mapping

import tensorflow as tf

from tff_vision import catalogue, configs

# Function from the round's number, counted from 1, float32 [], to a factor, float32 [].
Schedule = Callable[[tf.Tensor], tf.Tensor]


def client_schedule(config: configs.ScheduleConfig, rounds: int) -> Schedule:
  """Returns the clients' factor for a run of `rounds` rounds."""
  return _warmed_up(SCHEDULES[config.client_schedule](config, rounds), config.client_warmup_rounds)


def server_schedule(config: configs.ScheduleConfig, rounds: int) -> Schedule:
  """Returns the server's factor for a run of `rounds` rounds."""
  return _warmed_up(SCHEDULES[config.server_schedule](config, rounds), config.server_warmup_rounds)


def _warmed_up(schedule, warmup_rounds):
  if not warmup_rounds:
    return schedule
  # Goyal et al. 2017, arXiv:1706.02677, section 2.2.
  return lambda round_num: schedule(round_num) * tf.minimum(round_num / warmup_rounds, 1.0)


def constant(config: configs.ScheduleConfig, rounds: int) -> Schedule:
  """Returns the factor 1."""
  del config, rounds
  return tf.ones_like


def step(config: configs.ScheduleConfig, rounds: int) -> Schedule:
  """Returns a factor that falls in steps."""
  del rounds
  return lambda round_num: tf.pow(config.schedule_step_factor,
                                  tf.math.floor((round_num - 1) / config.schedule_step_rounds))


def cosine(config: configs.ScheduleConfig, rounds: int) -> Schedule:
  """Returns a factor that falls along half a cosine."""
  final = config.schedule_final
  return lambda round_num: final + (1 - final) * (1 + tf.cos(math.pi * (round_num - 1) / rounds)) / 2


SCHEDULES: Mapping[str, Callable[[configs.ScheduleConfig, int], Schedule]] = catalogue.Loaded('client_schedule')
