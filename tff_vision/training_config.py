"""What clients and server compute in a round: the algorithm, local training, the server's step."""

import dataclasses

from tff_vision import validate

ALGORITHMS = ('fedavg', 'fedprox')
CLIENT_OPTIMIZERS = ('sgd', 'sgdm', 'adam')
SERVER_OPTIMIZERS = ('sgd', 'sgdm', 'adam', 'yogi', 'adagrad')


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlgorithmConfig:
  """Which federated algorithm.

  Attributes:
    proximal_strength: The mu of FedProx: weight of the squared distance to the round's starting point.
  """
  algorithm: str = 'fedavg'
  proximal_strength: float = 0.01

  def __post_init__(self):
    validate.one_of(ALGORITHMS, algorithm=self.algorithm)
    validate.non_negative(proximal_strength=self.proximal_strength)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClientConfig:
  """What one client does in one round."""
  client_optimizer: str = 'sgd'
  client_learning_rate: float = 0.2
  client_epochs: int = 3
  batch_size: int = 20

  def __post_init__(self):
    validate.one_of(CLIENT_OPTIMIZERS, client_optimizer=self.client_optimizer)
    validate.positive(client_learning_rate=self.client_learning_rate, client_epochs=self.client_epochs,
                      batch_size=self.batch_size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerConfig:
  """How the server applies the aggregated update."""
  server_optimizer: str = 'sgd'
  server_learning_rate: float = 1.0

  def __post_init__(self):
    validate.one_of(SERVER_OPTIMIZERS, server_optimizer=self.server_optimizer)
    validate.positive(server_learning_rate=self.server_learning_rate)
