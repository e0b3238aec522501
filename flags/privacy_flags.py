"""Flags of `PrivacyConfig`."""

from absl import flags

from tff_vision.configs import privacy_config

_DEFAULTS = privacy_config.PrivacyConfig()

flags.DEFINE_enum('privacy', _DEFAULTS.privacy, privacy_config.PRIVACIES, 'Differential-privacy mechanism.')
flags.DEFINE_float('clip_norm', _DEFAULTS.clip_norm,
                   'L2 bound on one client\'s update; of example_dp_sgd, on one example\'s gradient.')
flags.DEFINE_float('noise_multiplier', _DEFAULTS.noise_multiplier,
                   'Standard deviation of the noise on the sum of updates, over clip_norm.')
flags.DEFINE_float('target_epsilon', _DEFAULTS.target_epsilon, 'Calibrate the noise to this epsilon instead.')
flags.DEFINE_float('delta', _DEFAULTS.delta, 'The delta of (epsilon, delta); unset means population ** -1.1, where the '
                   'population is all clients, or with example_dp_sgd the examples of the largest client.')
flags.DEFINE_float('metrics_noise_multiplier', _DEFAULTS.metrics_noise_multiplier,
                   'Release each round\'s number of clients and their accuracy with this noise; unset withholds both.')
flags.DEFINE_float('stop_at_epsilon', _DEFAULTS.stop_at_epsilon, 'End before the round that would exceed it.')
flags.DEFINE_integer('audit_canaries', _DEFAULTS.audit_canaries,
                     'Put so many canaries into the run, each by a secret coin, and bound epsilon from below at its '
                     'end; 0: none.')
flags.DEFINE_float('audit_confidence', _DEFAULTS.audit_confidence, 'Of the bound that audit_canaries give.')
