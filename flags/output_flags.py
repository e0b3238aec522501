"""The flag of every pipeline that reports numbers."""

from absl import flags

from tff_vision import configs

JSON = flags.DEFINE_string('json', configs.LaunchConfig().json, 'File that also receives the numbers, as JSON.')
