"""Flags of `ClientConfig` and `ServerConfig`."""

from absl import flags

from tff_vision.configs import training_config

_CLIENT = training_config.ClientConfig()
_SERVER = training_config.ServerConfig()

flags.DEFINE_enum('client_optimizer', _CLIENT.client_optimizer, training_config.CLIENT_OPTIMIZERS,
                  'Optimizer on clients.')
flags.DEFINE_float('client_learning_rate', _CLIENT.client_learning_rate, 'Learning rate on clients.')
flags.DEFINE_integer('client_epochs', _CLIENT.client_epochs, 'Local epochs in a round.')
flags.DEFINE_integer('batch_size', _CLIENT.batch_size, 'Batch size on clients.')
flags.DEFINE_enum('server_optimizer', _SERVER.server_optimizer, training_config.SERVER_OPTIMIZERS,
                  'Optimizer on the server; sgdm, adam, yogi, adagrad make FedAvgM, FedAdam, FedYogi, FedAdagrad.')
flags.DEFINE_float('server_learning_rate', _SERVER.server_learning_rate, 'Learning rate on the server.')
