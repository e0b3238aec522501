"""What clients and server compute in a round: the algorithm, local training, the server's step."""

import dataclasses

from tff_vision import validate

ALGORITHMS = ('fedavg', 'fedprox', 'fedsgd', 'scaffold', 'fednova', 'feddyn', 'mime_lite', 'fedbuff')
CLIENT_OPTIMIZERS = ('sgd', 'sgdm', 'adam')
SERVER_OPTIMIZERS = ('sgd', 'sgdm', 'adam', 'yogi', 'adagrad', 'adamw')
CLIENT_WEIGHTINGS = ('examples', 'uniform')
# SCAFFOLD, MimeLite and FedDyn change the gradient of plain SGD; FedNova normalises for SGD with and without momentum.
_CLIENT_OPTIMIZERS_OF = {'scaffold': ('sgd',), 'mime_lite': ('sgd',), 'feddyn': ('sgd',), 'fednova': ('sgd', 'sgdm')}
_READ_BY_ALGORITHM = {'proximal_strength': ('fedprox', 'fednova'), 'feddyn_strength': ('feddyn',),
                      'mime_momentum': ('mime_lite',), 'max_staleness': ('fedbuff',)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlgorithmConfig:
  """Which federated algorithm; docs/algorithms.md tells them apart.

  Attributes:
    client_weighting: Each client's update weighs as many examples as it has seen, or every client weighs the same.
      Read without differential privacy, under which every client weighs the same.
    proximal_strength: The mu of FedProx: weight of the squared distance to the round's starting point. None: 0.01
      with fedprox, and fednova without such a term.
    feddyn_strength: The alpha of FedDyn: weight of its dynamic regulariser.
    mime_momentum: The beta of MimeLite: share of the old momentum in the new.
    max_staleness: fedbuff: an update that arrives more rounds late is lost; the server keeps so many old models.
  """
  algorithm: str = 'fedavg'
  client_weighting: str = 'examples'
  proximal_strength: float | None = None
  feddyn_strength: float = 0.1
  mime_momentum: float = 0.9
  max_staleness: int = 4

  def __post_init__(self):
    validate.one_of(ALGORITHMS, algorithm=self.algorithm)
    validate.one_of(CLIENT_WEIGHTINGS, client_weighting=self.client_weighting)
    validate.non_negative(proximal_strength=self.proximal_strength or 0.0)
    validate.positive(feddyn_strength=self.feddyn_strength, max_staleness=self.max_staleness)
    validate.fraction(mime_momentum=self.mime_momentum)
    for name, readers in _READ_BY_ALGORITHM.items():
      _refuse_unread(self, name, self.algorithm in readers, f'algorithm={" or ".join(readers)}')


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClientConfig:
  """What one client does in one round.

  Attributes:
    client_momentum: Of the optimizer sgdm.
    client_gradient_clip: L2 bound on the gradient of one batch; None: none. What an algorithm adds is not bounded.
    client_weight_decay: Adds so much of the weights to each gradient.
  """
  client_optimizer: str = 'sgd'
  client_learning_rate: float = 0.2
  client_epochs: int = 3
  batch_size: int = 20
  client_momentum: float = 0.9
  client_gradient_clip: float | None = None
  client_weight_decay: float = 0.0

  def __post_init__(self):
    validate.one_of(CLIENT_OPTIMIZERS, client_optimizer=self.client_optimizer)
    validate.positive(client_learning_rate=self.client_learning_rate, client_epochs=self.client_epochs,
                      batch_size=self.batch_size)
    validate.open_unit(client_momentum=self.client_momentum)
    validate.non_negative(client_weight_decay=self.client_weight_decay)
    if self.client_gradient_clip is not None:
      validate.positive(client_gradient_clip=self.client_gradient_clip)
    _refuse_unread(self, 'client_momentum', self.client_optimizer == 'sgdm', 'client_optimizer=sgdm')


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerConfig:
  """How the server applies the aggregated update.

  Attributes:
    server_momentum: Of the optimizer sgdm.
    server_weight_decay: Of the optimizer adamw, decoupled from its moments.
  """
  server_optimizer: str = 'sgd'
  server_learning_rate: float = 1.0
  server_momentum: float = 0.9
  server_weight_decay: float = 0.004

  def __post_init__(self):
    validate.one_of(SERVER_OPTIMIZERS, server_optimizer=self.server_optimizer)
    validate.positive(server_learning_rate=self.server_learning_rate)
    validate.open_unit(server_momentum=self.server_momentum)
    validate.non_negative(server_weight_decay=self.server_weight_decay)
    _refuse_unread(self, 'server_momentum', self.server_optimizer == 'sgdm', 'server_optimizer=sgdm')
    _refuse_unread(self, 'server_weight_decay', self.server_optimizer == 'adamw', 'server_optimizer=adamw')


def check_together(algorithm: AlgorithmConfig, client: ClientConfig, server: ServerConfig) -> None:
  """Refuses local training or a server's step that an algorithm is not defined for.

  Raises:
    ValueError: Names the field.
  """
  name = algorithm.algorithm
  optimizers = _CLIENT_OPTIMIZERS_OF.get(name, CLIENT_OPTIMIZERS)
  if client.client_optimizer not in optimizers:
    raise ValueError(f'client_optimizer={client.client_optimizer} does not go with algorithm={name}, which is defined '
                     f'for {" and ".join(optimizers)} on clients.')
  if name == 'feddyn' and server.server_optimizer != 'sgd':
    raise ValueError(f'server_optimizer={server.server_optimizer} does not go with algorithm=feddyn: its drift term '
                     'cancels the clients\' only if the server takes their mean as it is; choose sgd.')
  if name == 'fedsgd' and client.client_epochs != 1:
    raise ValueError(f'client_epochs={client.client_epochs} does not go with algorithm=fedsgd, which takes the '
                     'gradient over all examples of a client once: set client_epochs=1.')


def _refuse_unread(config, name, is_read, reader):
  field = next(field for field in dataclasses.fields(config) if field.name == name)
  if not is_read and getattr(config, name) != field.default:
    raise ValueError(f'{name}={getattr(config, name)!r} has no effect without {reader}.')
