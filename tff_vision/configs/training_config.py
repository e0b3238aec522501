"""What clients and server compute in a round: the algorithm, local training, the server's step."""

import dataclasses
from typing import Any

from tff_vision import plugins
from tff_vision.configs import validate

ALGORITHMS = ('fedavg', 'fedprox', 'fedsgd', 'scaffold', 'fednova', 'feddyn', 'mime_lite', 'fedbuff', 'fedper',
              'fedrep', 'ditto', 'apfl', 'ifca')
PERSONAL_ALGORITHMS = ('fedper', 'fedrep', 'ditto', 'apfl', 'ifca')
CLIENT_OPTIMIZERS = ('sgd', 'sgdm', 'adam')
SERVER_OPTIMIZERS = ('sgd', 'sgdm', 'adam', 'yogi', 'adagrad', 'adamw')
CLIENT_WEIGHTINGS = ('examples', 'uniform')
# SCAFFOLD, MimeLite and FedDyn change the gradient of plain SGD; FedNova normalises for SGD with and without momentum.
# FedRep keeps a part of the model still, which momentum would move; APFL steps along its own gradient.
_CLIENT_OPTIMIZERS_OF = {'scaffold': ('sgd',), 'mime_lite': ('sgd',), 'feddyn': ('sgd',), 'fednova': ('sgd', 'sgdm'),
                         'fedrep': ('sgd',), 'apfl': ('sgd',)}
_READ_BY_ALGORITHM = {'proximal_strength': ('fedprox', 'fednova'), 'feddyn_strength': ('feddyn',),
                      'mime_momentum': ('mime_lite',), 'max_staleness': ('fedbuff',),
                      'personal_layers': ('fedper', 'fedrep'),
                      'fedrep_head_epochs': ('fedrep',), 'ditto_strength': ('ditto',), 'apfl_alpha': ('apfl',),
                      'apfl_adaptive': ('apfl',), 'ifca_clusters': ('ifca',)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlgorithmConfig:
  """Which federated algorithm; docs/reference/algorithms.md tells them apart.

  Attributes:
    algorithm: A name, a `learning.algorithm.Algorithm` or a reference to one, to its class or to a function that
      makes one.
    algorithm_option: `key=value` for the class or function of a reference.
    client_weighting: Each client's update weighs as many examples as it has seen, or every client weighs the same.
      None: by examples, but the same where the privacy of whole clients is promised.
    proximal_strength: The mu of FedProx: weight of the squared distance to the round's starting point. None: 0.01
      with fedprox, and fednova without such a term.
    feddyn_strength: The alpha of FedDyn: weight of its dynamic regulariser.
    mime_momentum: The beta of MimeLite: share of the old momentum in the new.
    max_staleness: fedbuff: an update that arrives more rounds late is lost; the server keeps so many old models.
    personal_layers: fedper, fedrep: names of the layers that stay on each client, separated by commas; empty: the last
      layer that has weights; `none`: no layer.
    fedrep_head_epochs: The first so many local epochs train the head, the others the body; None: all but the last.
    ditto_strength: The lambda of Ditto: how strongly a personal model is drawn to the shared one; 0: not at all.
    apfl_alpha: The share of a client's own model in what it uses; at first, if `apfl_adaptive`.
    apfl_adaptive: Whether each client learns that share.
    ifca_clusters: The number of models of IFCA.
    personalize_epochs: After the last round every client trains the shared model on for so many local epochs, and the
      report compares both on the client's own test examples; 0: no such comparison.
  """
  algorithm: Any = 'fedavg'
  algorithm_option: tuple[str, ...] = ()
  client_weighting: str | None = None
  proximal_strength: float | None = None
  feddyn_strength: float = 0.1
  mime_momentum: float = 0.9
  max_staleness: int = 4
  personal_layers: str = ''
  fedrep_head_epochs: int | None = None
  ditto_strength: float = 0.1
  apfl_alpha: float = 0.5
  apfl_adaptive: bool = False
  ifca_clusters: int = 2
  personalize_epochs: int = 0

  def __post_init__(self):
    validate.one_of_or_own(ALGORITHMS, algorithm=self.algorithm)
    check_options(ALGORITHMS, self.algorithm, self.algorithm_option, 'algorithm')
    if self.client_weighting is not None:
      validate.one_of(CLIENT_WEIGHTINGS, client_weighting=self.client_weighting)
    validate.non_negative(proximal_strength=self.proximal_strength or 0.0)
    validate.positive(feddyn_strength=self.feddyn_strength, max_staleness=self.max_staleness,
                      ifca_clusters=self.ifca_clusters)
    validate.non_negative(ditto_strength=self.ditto_strength, personalize_epochs=self.personalize_epochs)
    if not 0 <= self.apfl_alpha <= 1:
      raise ValueError(f'apfl_alpha must lie in 0..1, found {self.apfl_alpha!r}.')
    if self.personalize_epochs and self.algorithm in PERSONAL_ALGORITHMS:
      raise ValueError(f'personalize_epochs={self.personalize_epochs} fine-tunes a shared model, but with '
                       f'algorithm={self.algorithm} every client has a model of its own already.')
    if self.fedrep_head_epochs is not None:
      validate.positive(fedrep_head_epochs=self.fedrep_head_epochs)
    validate.fraction(mime_momentum=self.mime_momentum)
    for name, readers in _READ_BY_ALGORITHM.items():
      _refuse_unread(self, name, self.algorithm in readers, f'algorithm={" or ".join(readers)}')


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClientConfig:
  """What one client does in one round.

  Attributes:
    client_optimizer: A name, or a `tff.learning.optimizers.Optimizer`, whose own rate then counts; a schedule needs
      its hyperparameter `learning_rate`.
    client_momentum: Of the optimizer sgdm.
    client_gradient_clip: L2 bound on the gradient of one batch; None: none. What an algorithm adds is not bounded.
    client_weight_decay: Adds so much of the weights to each gradient.
  """
  client_optimizer: Any = 'sgd'
  client_learning_rate: float = 0.2
  client_epochs: int = 3
  batch_size: int = 20
  client_momentum: float = 0.9
  client_gradient_clip: float | None = None
  client_weight_decay: float = 0.0

  def __post_init__(self):
    _check_optimizer(CLIENT_OPTIMIZERS, client_optimizer=self.client_optimizer)
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
    server_optimizer: As `client_optimizer`.
    server_momentum: Of the optimizer sgdm.
    server_weight_decay: Of the optimizer adamw, decoupled from its moments.
    server_epsilon: The tau of the adaptive optimizers, which bounds their steps.
  """
  server_optimizer: Any = 'sgd'
  server_learning_rate: float = 1.0
  server_momentum: float = 0.9
  server_weight_decay: float = 0.004
  server_epsilon: float = 1e-3

  def __post_init__(self):
    _check_optimizer(SERVER_OPTIMIZERS, server_optimizer=self.server_optimizer)
    validate.positive(server_learning_rate=self.server_learning_rate, server_epsilon=self.server_epsilon)
    validate.open_unit(server_momentum=self.server_momentum)
    validate.non_negative(server_weight_decay=self.server_weight_decay)
    _refuse_unread(self, 'server_momentum', self.server_optimizer == 'sgdm', 'server_optimizer=sgdm')
    _refuse_unread(self, 'server_weight_decay', self.server_optimizer == 'adamw', 'server_optimizer=adamw')
    _refuse_unread(self, 'server_epsilon', self.server_optimizer not in ('sgd', 'sgdm'), 'an adaptive server_optimizer')


def check_options(choices: tuple[str, ...], choice: Any, given: tuple[str, ...], field: str) -> None:
  """Refuses options of anything but a reference: a built-in name reads fields, an object has its parameters.

  Raises:
    ValueError: Names the field.
  """
  plugins.options(given, field=f'{field}_option')
  if given and not (plugins.is_reference(choice) and choice not in choices):
    raise ValueError(f'{field}_option={",".join(given)} has no effect without {field}=package.module:attribute.')


def _check_optimizer(choices, **named):
  for name, value in named.items():
    if isinstance(value, str):
      validate.one_of(choices, **named)
    elif not all(callable(getattr(value, method, None)) for method in ('initialize', 'next')):
      raise ValueError(f'{name} must be one of {", ".join(choices)} or a tff.learning.optimizers.Optimizer, found '
                       f'{value!r}.')


def check_together(algorithm: AlgorithmConfig, client: ClientConfig, server: ServerConfig) -> None:
  """Refuses local training or a server's step that an algorithm is not defined for.

  Raises:
    ValueError: Names the field.
  """
  name = algorithm.algorithm
  optimizers = _CLIENT_OPTIMIZERS_OF.get(name)
  if optimizers is not None and client.client_optimizer not in optimizers:
    raise ValueError(f'client_optimizer={plugins.shown(client.client_optimizer)} does not go with algorithm={name}, '
                     f'which is defined for {" and ".join(optimizers)} on clients.')
  if name == 'fedrep' and not 0 < (algorithm.fedrep_head_epochs or client.client_epochs - 1) < client.client_epochs:
    raise ValueError(f'client_epochs={client.client_epochs} with fedrep_head_epochs={algorithm.fedrep_head_epochs}: '
                     'fedrep needs at least one local epoch for the head and one for the body.')
  if name == 'ifca' and (server.server_optimizer, server.server_learning_rate) != ('sgd', 1.0):
    raise ValueError(f'server_optimizer={plugins.shown(server.server_optimizer)} with server_learning_rate='
                     f'{server.server_learning_rate:g} does not go with algorithm=ifca, whose models are the means of '
                     'their clients: choose sgd and 1.')
  if name == 'feddyn' and server.server_optimizer != 'sgd':
    raise ValueError(f'server_optimizer={plugins.shown(server.server_optimizer)} does not go with algorithm=feddyn: '
                     'its drift term cancels the clients\' only if the server takes their mean as it is; choose sgd.')
  if name == 'fedsgd' and client.client_epochs != 1:
    raise ValueError(f'client_epochs={client.client_epochs} does not go with algorithm=fedsgd, which takes the '
                     'gradient over all examples of a client once: set client_epochs=1.')


def _refuse_unread(config, name, is_read, reader):
  field = next(field for field in dataclasses.fields(config) if field.name == name)
  if not is_read and getattr(config, name) != field.default:
    raise ValueError(f'{name}={getattr(config, name)!r} has no effect without {reader}.')
