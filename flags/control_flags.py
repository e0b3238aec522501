"""Flags of `ControlConfig`."""

from absl import flags

from tff_vision.studies.control import control_config

_DEFAULTS = control_config.ControlConfig()

flags.DEFINE_integer('environments', _DEFAULTS.environments, 'Clients; each plays in an environment of its own.')
flags.DEFINE_integer('unseen_environments', _DEFAULTS.unseen_environments, 'So many more are only evaluated.')
flags.DEFINE_float('wind', _DEFAULTS.wind, 'Largest probability with which wind moves the ball in a step.')
flags.DEFINE_float('discount', _DEFAULTS.discount, 'Factor on a reward for each step that it lies ahead.')
flags.DEFINE_float('value_weight', _DEFAULTS.value_weight, 'Weight of the critic\'s squared error in the loss.')
flags.DEFINE_float('entropy_weight', _DEFAULTS.entropy_weight, 'Weight of the policy\'s entropy in the loss.')
flags.DEFINE_integer('evaluation_episodes', _DEFAULTS.evaluation_episodes, 'Episodes behind each catch rate.')
flags.DEFINE_bool('alone', _DEFAULTS.alone, 'Whether every client also trains alone, for comparison.')
