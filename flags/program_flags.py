"""Flags of `ProgramConfig` and `LaunchConfig`, but for `json`, which every pipeline has."""

from absl import flags

from tff_vision import configs

_PROGRAM = configs.ProgramConfig()
_LAUNCH = configs.LaunchConfig()

flags.DEFINE_integer('rounds', _PROGRAM.rounds, 'Rounds of training.')
flags.DEFINE_integer('rounds_per_evaluation', _PROGRAM.rounds_per_evaluation, 'Evaluate every so many rounds.')
flags.DEFINE_integer('seed', _PROGRAM.seed, 'Fixes data split, cohorts, initial weights and order of examples.')
flags.DEFINE_string('run_dir', _LAUNCH.run_dir, 'Folder of the run; unset makes one below runs/.')
flags.DEFINE_bool('resume', _LAUNCH.resume, 'Continue the run in run_dir; flags not given are taken from it.')
flags.DEFINE_bool('keep_secrets', _LAUNCH.keep_secrets, 'Do not wipe run_dir/secret when a run under a promise ends.')
flags.DEFINE_bool('show_training_data', _LAUNCH.show_training_data, 'Training images and class mix in the report of a '
                  'run under a promise, which does not cover them.')
