"""Flags of `AlgorithmConfig` about models of the clients' own."""

from absl import flags

from tff_vision.configs import training_config

_DEFAULTS = training_config.AlgorithmConfig()

flags.DEFINE_string('personal_layers', _DEFAULTS.personal_layers,
                    'fedper, fedrep: layers that stay on each client, separated by commas; empty: the last; or none.')
flags.DEFINE_integer('fedrep_head_epochs', _DEFAULTS.fedrep_head_epochs,
                     'fedrep: local epochs for the head; the others are the body\'s. Unset: all but the last.')
flags.DEFINE_float('ditto_strength', _DEFAULTS.ditto_strength, 'The lambda of ditto.')
flags.DEFINE_float('apfl_alpha', _DEFAULTS.apfl_alpha, 'apfl: the share of a client\'s own model in what it uses.')
flags.DEFINE_bool('apfl_adaptive', _DEFAULTS.apfl_adaptive, 'apfl: whether each client learns that share.')
flags.DEFINE_integer('ifca_clusters', _DEFAULTS.ifca_clusters, 'ifca: the number of models.')
flags.DEFINE_integer('personalize_epochs', _DEFAULTS.personalize_epochs,
                     'After the last round, compare the shared model with one trained on so far by each client.')
