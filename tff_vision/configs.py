"""One experiment, as data: frozen dataclasses that are legal if they exist, with an exact JSON round trip.

A field's name is the name of its command-line flag, so field names are unique over all classes here. Field
defaults are the only place where a default value stands; `flags/` reads them.
"""

import dataclasses
import json
import typing
from collections.abc import Mapping

from tff_vision import cohort_config, data_config, privacy_config, validate

DataConfig = data_config.DataConfig
CohortConfig = cohort_config.CohortConfig
PrivacyConfig = privacy_config.PrivacyConfig
# What may be chosen; the registries that give the names a meaning need TensorFlow, so the names stand here too,
# and a test holds both equal.
MODELS = ('cnn', 'cnn_dropout', 'mlp')
ALGORITHMS = ('fedavg', 'fedprox')
CLIENT_OPTIMIZERS = ('sgd', 'sgdm', 'adam')
SERVER_OPTIMIZERS = ('sgd', 'sgdm', 'adam', 'yogi', 'adagrad')
SECURE_SUMS = ('none', 'he', 'he_keyholder', 'masks')


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
  """Which Keras model: a key of `tff_vision.models.MODELS`."""
  model: str = 'mlp'

  def __post_init__(self):
    validate.one_of(MODELS, model=self.model)


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class SecureConfig:
  """How updates are hidden from whoever adds them up; see docs/secure_sums.md.

  Attributes:
    secure_sum: `he`: encrypted under a key that all clients of a round hold together; `he_keyholder`:
      encrypted under the key pair of a key holder; `masks`: masked pairwise, with recovery from dropouts.
    secure_bits: Bits of one element of a client's update, in fixed point.
    secure_clients_max: The largest cohort; integers and noise get room for that many.
    secure_range: The largest magnitude of one element of an update. With differential privacy clip_norm takes
      its place. An update beyond it fails the round.
    key_holder_dir: The key holder's folder, outside of run_dir. Read by `he_keyholder` only; keys are made there
      at the first run.
  """
  secure_sum: str = 'none'
  secure_bits: int = 16
  secure_clients_max: int = 16
  secure_range: float = 2.0
  key_holder_dir: str | None = None

  def __post_init__(self):
    validate.one_of(SECURE_SUMS, secure_sum=self.secure_sum)
    if not 2 <= self.secure_bits <= 22:
      raise ValueError(f'secure_bits must lie in 2..22, found {self.secure_bits}.')
    if self.secure_clients_max < 2:
      raise ValueError(f'secure_clients_max must be at least 2, found {self.secure_clients_max}: the sum of one '
                       'client is that client.')
    validate.positive(secure_range=self.secure_range)
    if (self.secure_sum == 'he_keyholder') != (self.key_holder_dir is not None):
      raise ValueError(f'key_holder_dir={self.key_holder_dir!r} with secure_sum={self.secure_sum}: '
                       'he_keyholder needs the folder of the key holder, nothing else reads it.')


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProgramConfig:
  """How long to train and how often to look."""
  rounds: int = 80
  rounds_per_evaluation: int = 10
  seed: int = 0

  def __post_init__(self):
    validate.positive(rounds=self.rounds, rounds_per_evaluation=self.rounds_per_evaluation)
    validate.non_negative(seed=self.seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
  """Everything that the result of a run depends on."""
  data: DataConfig = DataConfig()
  model: ModelConfig = ModelConfig()
  algorithm: AlgorithmConfig = AlgorithmConfig()
  client: ClientConfig = ClientConfig()
  server: ServerConfig = ServerConfig()
  cohort: CohortConfig = CohortConfig()
  privacy: PrivacyConfig = PrivacyConfig()
  secure: SecureConfig = SecureConfig()
  program: ProgramConfig = ProgramConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaunchConfig:
  """Where a run's files go; the result does not depend on it.

  Attributes:
    run_dir: The run's folder; None means runs/<dataset>-<algorithm>-<time>.
    resume: Continue the run that run_dir holds.
    json: File that also receives report.json's content.
  """
  run_dir: str | None = None
  resume: bool = False
  json: str | None = None

  def __post_init__(self):
    if self.resume and self.run_dir is None:
      raise ValueError('resume needs run_dir, the folder of the run to continue.')


def sections() -> Mapping[str, type]:
  """Returns the name and the class of each part of `ExperimentConfig`."""
  return typing.get_type_hints(ExperimentConfig)


def to_json(config: ExperimentConfig) -> str:
  """Returns `config` as JSON text that `from_json` turns into an equal config."""
  return json.dumps(dataclasses.asdict(config), indent=2) + '\n'


def from_json(text: str) -> ExperimentConfig:
  """Returns the config that `to_json` wrote.

  Raises:
    ValueError: The text is no JSON object of exactly these sections and fields, or a value is illegal.
  """
  parsed = json.loads(text)
  _same_names('the config', parsed, sections())
  made = {}
  for name, section in sections().items():
    _same_names(f'section {name} of the config', parsed[name], [f.name for f in dataclasses.fields(section)])
    made[name] = section(**parsed[name])
  return ExperimentConfig(**made)


def _same_names(what, found, expected):
  if not isinstance(found, dict):
    raise ValueError(f'{what} must be a JSON object, found {found!r}.')
  if wrong := sorted(set(found) ^ set(expected)):
    raise ValueError(f'{what} lacks or has unknown names: {", ".join(wrong)}.')
