"""Flags of `CohortConfig`: who is drawn, and devices that do not deliver."""

from absl import flags

from tff_vision import configs
from tff_vision.configs import cohort_config

_DEFAULTS = configs.CohortConfig()

flags.DEFINE_enum('sampling', _DEFAULTS.sampling, cohort_config.SAMPLINGS,
                  'How the clients of a round are drawn: docs/reference/participation.md.')
flags.DEFINE_integer('cohort_size', _DEFAULTS.cohort_size, 'Clients in a round; the expected number with poisson.')
flags.DEFINE_float('dropout_before', _DEFAULTS.dropout_before, 'Probability that a client asked does not begin.')
flags.DEFINE_float('dropout_after', _DEFAULTS.dropout_after, 'Probability that a client that trained does not deliver.')
flags.DEFINE_float('over_selection', _DEFAULTS.over_selection,
                   'So many times cohort_size are asked; the round takes the first cohort_size to deliver.')
flags.DEFINE_float('round_deadline', _DEFAULTS.round_deadline,
                   'Nothing counts that arrives later, in units of the median client\'s time; not given, all is waited '
                   'for.')
flags.DEFINE_float('speed_spread', _DEFAULTS.speed_spread, 'Deviation of the logarithm of clients\' times.')
