"""One experiment, as data: frozen dataclasses that are legal if they exist, with an exact JSON round trip.

A field's name is the name of its command-line flag, so field names are unique over all classes here. Field
defaults are the only place where a default value stands; `flags/` reads them.
"""

import dataclasses
import json
import typing
from collections.abc import Mapping

from tff_vision import validate

# What may be chosen; the registries that give the names a meaning need TensorFlow, so the names stand here too,
# and a test holds both equal.
PARTITIONS = ('natural', 'iid', 'dirichlet')
PIXELS = ('raw', 'invert', 'standardize', 'per_image')
CORRUPT_IMAGES = ('refuse', 'skip')
MODELS = ('cnn', 'cnn_dropout', 'mlp')
ALGORITHMS = ('fedavg', 'fedprox')
CLIENT_OPTIMIZERS = ('sgd', 'sgdm', 'adam')
SERVER_OPTIMIZERS = ('sgd', 'sgdm', 'adam', 'yogi', 'adagrad')
SAMPLINGS = ('poisson', 'fixed', 'cyclic')
PRIVACIES = ('none', 'client_gaussian', 'client_adaptive', 'dp_ftrl', 'dp_mf', 'example_dp_sgd', 'local_dp')
EXAMPLE_SAMPLINGS = ('poisson', 'shuffled')
MF_STRATEGIES = ('blt', 'banded', 'amplified')


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
  """Which images, and how they are spread over clients.

  Attributes:
    dataset: A key of `tff_vision.data.sources.SOURCES`.
    data_dir: Folder that holds the files; None means the source's own default places.
    partition: How examples become clients; `natural` keeps the source's own clients.
    partition_alpha: Dirichlet concentration; large is near IID. Read by `dirichlet` only.
    num_clients: How many clients a partition makes, or a generator draws, or a natural source keeps (the
      first so many). None means the source's own number.
    preprocess: What is done to pixels after scaling: `raw`, `invert` (1 - x), `standardize` (mean and deviation
      of the data set) or `per_image`. None means the source's own way, as for the fields below.
    image_size: Height and width that images are resized to; of `medmnist:*`, which of its sizes is read.
    image_channels: 1 turns colour to grey, 3 repeats grey.
    crop: Height and width of a crop, random in training and central in evaluation; 0 crops nothing.
    flip: Whether training mirrors every other image.
    test_fraction: Share of every class that is held out, of sources without a test set of their own.
    corrupt_images: Whether an image file that cannot be decoded stops the run (`refuse`) or is left out and
      counted (`skip`). Read by sources of image files only.
  """
  dataset: str = 'digits'
  data_dir: str | None = None
  partition: str = 'dirichlet'
  partition_alpha: float = 1.0
  num_clients: int | None = 20
  preprocess: str | None = None
  image_size: int | None = None
  image_channels: int | None = None
  crop: int | None = None
  flip: bool | None = None
  test_fraction: float = 0.2
  corrupt_images: str = 'refuse'

  def __post_init__(self):
    validate.one_of(PARTITIONS, partition=self.partition)
    validate.positive(partition_alpha=self.partition_alpha)
    if self.num_clients is not None:
      validate.positive(num_clients=self.num_clients)
    if self.preprocess is not None:
      validate.one_of(PIXELS, preprocess=self.preprocess)
    if self.image_size is not None:
      validate.positive(image_size=self.image_size)
    if self.image_channels not in (None, 1, 3):
      raise ValueError(f'image_channels must be 1 or 3, found {self.image_channels!r}.')
    if self.crop is not None:
      validate.non_negative(crop=self.crop)
    validate.open_unit(test_fraction=self.test_fraction)
    validate.one_of(CORRUPT_IMAGES, corrupt_images=self.corrupt_images)


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
class CohortConfig:
  """Which clients take part in a round.

  Attributes:
    sampling: `poisson`: each client independently with probability cohort_size / population; `fixed`:
      exactly cohort_size clients, uniformly without replacement; `cyclic`: all clients in a fixed order,
      cohort_size at a time, so that each returns after population // cohort_size rounds.
    cohort_size: The (expected) number of clients in a round.
  """
  sampling: str = 'fixed'
  cohort_size: int = 10

  def __post_init__(self):
    validate.one_of(SAMPLINGS, sampling=self.sampling)
    validate.positive(cohort_size=self.cohort_size)


_READ_BY_EVERY_MECHANISM = ('privacy', 'clip_norm', 'noise_multiplier', 'target_epsilon', 'delta', 'stop_at_epsilon')
_READ_BY = {
    'client_gaussian': (),
    'client_adaptive': ('target_quantile', 'clip_learning_rate', 'count_stddev'),
    'dp_ftrl': ('tree_efficient',),
    'dp_mf': ('mf_strategy', 'mf_buffers', 'mf_bands'),
    'example_dp_sgd': ('example_sampling',),
    'local_dp': (),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrivacyConfig:
  """What is promised to whom; see docs/privacy.md.

  Attributes:
    clip_norm: L2 bound on one client's update (one example's gradient); the first one, where it is tracked.
    noise_multiplier: Standard deviation of the noise on the sum of updates (gradients), divided by clip_norm.
    target_epsilon: Calibrates noise_multiplier for the run's rounds instead of giving it.
    delta: The delta of (epsilon, delta); None means population ** -1.1.
    stop_at_epsilon: Ends the run before the round that would exceed it.
    target_quantile: client_adaptive: the fraction of updates that the tracked clip leaves as they are.
    clip_learning_rate: client_adaptive: how fast the clip moves.
    count_stddev: client_adaptive: noise on the count of unclipped updates; None means cohort_size / 20.
    tree_efficient: dp_ftrl: estimate tree nodes from their children too.
    mf_strategy: dp_mf: buffered linear Toeplitz noise, banded noise, or banded noise amplified by sampling.
    mf_buffers: dp_mf with blt: model-sized buffers on the server.
    mf_bands: dp_mf with banded or amplified; None means as many as the cohorts allow, or as are best.
    example_sampling: example_dp_sgd: how a step draws a client's examples.
  """
  privacy: str = 'none'
  clip_norm: float | None = None
  noise_multiplier: float | None = None
  target_epsilon: float | None = None
  delta: float | None = None
  stop_at_epsilon: float | None = None
  target_quantile: float = 0.5
  clip_learning_rate: float = 0.2
  count_stddev: float | None = None
  tree_efficient: bool = True
  mf_strategy: str = 'blt'
  mf_buffers: int = 3
  mf_bands: int | None = None
  example_sampling: str = 'poisson'

  def __post_init__(self):
    validate.one_of(PRIVACIES, privacy=self.privacy)
    validate.one_of(MF_STRATEGIES, mf_strategy=self.mf_strategy)
    validate.one_of(EXAMPLE_SAMPLINGS, example_sampling=self.example_sampling)
    given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)
             if getattr(self, field.name) != field.default}
    if self.privacy == 'none':
      for name, value in given.items():
        raise ValueError(f'{name}={value!r} has no effect with privacy=none; choose a mechanism with --privacy.')
      return
    for name in given.keys() - {*_READ_BY_EVERY_MECHANISM, *_READ_BY[self.privacy]}:
      raise ValueError(f'{name}={given[name]!r} has no effect with privacy={self.privacy}.')
    if self.clip_norm is None:
      raise ValueError(f'clip_norm is missing: privacy={self.privacy} adds noise in proportion to the bound on '
                       'one update.')
    if (self.noise_multiplier is None) == (self.target_epsilon is None):
      raise ValueError(f'privacy={self.privacy} takes exactly one of noise_multiplier and target_epsilon; found '
                       f'noise_multiplier={self.noise_multiplier!r}, target_epsilon={self.target_epsilon!r}.')
    validate.open_unit(target_quantile=self.target_quantile)
    validate.open_unit(**self._present('delta'))
    validate.non_negative(**self._present('noise_multiplier'))
    validate.positive(**self._present('clip_norm', 'target_epsilon', 'stop_at_epsilon', 'clip_learning_rate',
                                      'count_stddev', 'mf_buffers', 'mf_bands'))

  def _present(self, *names):
    return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


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
