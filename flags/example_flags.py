"""Flags of `PrivacyConfig` that private SGD on clients reads."""

from absl import flags

from tff_vision.configs import privacy_config

_DEFAULTS = privacy_config.PrivacyConfig()

flags.DEFINE_enum('example_sampling', _DEFAULTS.example_sampling, privacy_config.EXAMPLE_SAMPLINGS,
                  'example_dp_sgd: how a step draws a client\'s examples.')
flags.DEFINE_enum('example_noise', _DEFAULTS.example_noise, privacy_config.EXAMPLE_NOISES,
                  'example_dp_sgd: how the noise of a round\'s steps hangs together.')
flags.DEFINE_bool('example_adaptive_clip', _DEFAULTS.example_adaptive_clip,
                  'example_dp_sgd: whether the clip follows a quantile of the gradients\' norms within a round.')
flags.DEFINE_float('example_average', _DEFAULTS.example_average,
                   'example_dp_sgd: decay of the average over steps that a client returns; 0 returns the last weights.')
flags.DEFINE_integer('example_copies', _DEFAULTS.example_copies,
                     'example_dp_sgd: views of an example in a step, whose gradients are averaged before the clip.')
flags.DEFINE_integer('example_shift', _DEFAULTS.example_shift,
                     'example_dp_sgd: each view is moved by up to so many pixels.')
flags.DEFINE_bool('example_mirror', _DEFAULTS.example_mirror, 'example_dp_sgd: whether half of the views are mirrored.')
