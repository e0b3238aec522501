"""Flags of `StudyConfig`."""

from absl import flags

from flags import sections
from tff_vision.studies.hospitals import study_config

_DEFAULTS = study_config.StudyConfig()

flags.DEFINE_float('validation_share', _DEFAULTS.validation_share, 'Share of training images kept for thresholds.')
flags.DEFINE_integer('personal_epochs', _DEFAULTS.personal_epochs, 'Local epochs alone, from the federated model on.')
flags.DEFINE_float('private_epsilon', _DEFAULTS.private_epsilon, 'Largest epsilon of any hospital.')
flags.DEFINE_float('private_clip_norm', _DEFAULTS.private_clip_norm, 'L2 bound on the gradient of one image.')
flags.DEFINE_float('private_learning_rate', _DEFAULTS.private_learning_rate, 'Learning rate of private training.')
flags.DEFINE_integer('private_batch_size', _DEFAULTS.private_batch_size, 'Expected images in a private step.')
flags.DEFINE_integer('private_rounds', _DEFAULTS.private_rounds, 'Rounds of private training.')
flags.DEFINE_integer('bootstraps', _DEFAULTS.bootstraps, 'Resamples behind each interval.')


def study() -> study_config.StudyConfig:
  """Returns the comparison that the flags describe.

  Raises:
    ValueError: A value is illegal.
  """
  return sections.read(_DEFAULTS)
