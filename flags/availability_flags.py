"""Flags of `CohortConfig`: when clients can be reached."""

from absl import flags

from tff_vision import configs

_DEFAULTS = configs.CohortConfig()

flags.DEFINE_string('availability_trace', _DEFAULTS.availability_trace,
                    'CSV file with the columns client (number from 0), join, leave: when clients are there.')
flags.DEFINE_integer('arrival_rounds', _DEFAULTS.arrival_rounds,
                     'Clients join at random within the first so many rounds; 0: all are there from the start.')
flags.DEFINE_float('stay_rounds', _DEFAULTS.stay_rounds, 'Mean number of rounds that a client stays; 0: for ever.')
flags.DEFINE_integer('day_rounds', _DEFAULTS.day_rounds, 'Rounds in a day of day/night waves; 0: no waves.')
flags.DEFINE_float('day_share', _DEFAULTS.day_share, 'Share of the day during which a client can be reached.')
