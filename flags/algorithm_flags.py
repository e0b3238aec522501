"""Flags of `AlgorithmConfig`, `ClientConfig` and `ServerConfig` that single algorithms and optimizers read."""

from absl import flags

from tff_vision.configs import training_config

_ALGORITHM = training_config.AlgorithmConfig()
_CLIENT = training_config.ClientConfig()
_SERVER = training_config.ServerConfig()

flags.DEFINE_enum('client_weighting', _ALGORITHM.client_weighting, training_config.CLIENT_WEIGHTINGS,
                  'What an update weighs in the mean: the examples seen (the default but for the privacy of clients), '
                  'or the same for every client.')
flags.DEFINE_float('feddyn_strength', _ALGORITHM.feddyn_strength, 'The alpha of feddyn.')
flags.DEFINE_float('mime_momentum', _ALGORITHM.mime_momentum, 'The beta of mime_lite.')
flags.DEFINE_integer('max_staleness', _ALGORITHM.max_staleness,
                     'fedbuff: an update that arrives more rounds late is lost.')
flags.DEFINE_float('client_momentum', _CLIENT.client_momentum, 'Momentum of client_optimizer=sgdm.')
flags.DEFINE_float('client_gradient_clip', _CLIENT.client_gradient_clip,
                   'L2 bound on the gradient of a batch on clients; unset: no bound.')
flags.DEFINE_float('client_weight_decay', _CLIENT.client_weight_decay,
                   'Adds so much of the weights to each gradient on clients.')
flags.DEFINE_float('server_momentum', _SERVER.server_momentum, 'Momentum of server_optimizer=sgdm.')
flags.DEFINE_float('server_weight_decay', _SERVER.server_weight_decay, 'Weight decay of server_optimizer=adamw.')
flags.DEFINE_float('server_epsilon', _SERVER.server_epsilon, 'The tau of adaptive server optimizers.')
