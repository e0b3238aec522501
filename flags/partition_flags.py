"""Flags of `DataConfig` that single partitions read."""

from absl import flags

from tff_vision import configs
from tff_vision.configs import data_config

_DEFAULTS = configs.DataConfig()

flags.DEFINE_integer('min_client_examples', _DEFAULTS.min_client_examples,
                     'dirichlet, quantity: no client has fewer training examples.')
flags.DEFINE_integer('classes_per_client', _DEFAULTS.classes_per_client,
                     'shards: a client has at most so many classes.')
flags.DEFINE_enum('quantity_distribution', _DEFAULTS.quantity_distribution, data_config.QUANTITY_DISTRIBUTIONS,
                  'quantity: what client sizes are in proportion to.')
flags.DEFINE_float('quantity_sigma', _DEFAULTS.quantity_sigma,
                   'quantity: deviation of the logarithm of log-normal sizes; 0 for equal sizes.')
flags.DEFINE_float('pachinko_coarse_alpha', _DEFAULTS.pachinko_coarse_alpha,
                   'pachinko: concentration of a client over superclasses.')
flags.DEFINE_float('pachinko_fine_alpha', _DEFAULTS.pachinko_fine_alpha,
                   'pachinko: concentration of a client over the classes of a superclass.')
flags.DEFINE_float('shift_rotation', _DEFAULTS.shift_rotation,
                   'feature_shift: a client\'s images are rotated by one angle of up to so many degrees.')
flags.DEFINE_float('shift_contrast', _DEFAULTS.shift_contrast,
                   'feature_shift: a client\'s contrast is multiplied by one factor in 1 -+ this.')
flags.DEFINE_float('shift_noise', _DEFAULTS.shift_noise,
                   'feature_shift: a client\'s noise deviates by up to this share of full intensity.')
