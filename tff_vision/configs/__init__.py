"""One experiment, as data: frozen dataclasses that are legal if they exist, with an exact JSON round trip.

A field's name is the name of its command-line flag, so field names are unique over all classes here. The default and
the only description of a field are in its definition, where `flags/` reads them; its choices come from the catalogue.
"""

import dataclasses
import json
import pathlib
import typing
from collections.abc import Collection, Mapping
from typing import Any

from tff_vision import catalogue, plugins
from tff_vision.configs import (
    aggregation_config,
    attack_config,
    cohort_config,
    compatibility,
    data_config,
    model_config,
    option,
    privacy_config,
    schedule_config,
    secure_config,
    task_config,
    training_config,
    typed,
    validate,
)

DataConfig = data_config.DataConfig
CohortConfig = cohort_config.CohortConfig
PrivacyConfig = privacy_config.PrivacyConfig
ModelConfig = model_config.ModelConfig
AlgorithmConfig = training_config.AlgorithmConfig
ClientConfig = training_config.ClientConfig
ServerConfig = training_config.ServerConfig
ScheduleConfig = schedule_config.ScheduleConfig
SecureConfig = secure_config.SecureConfig
AggregationConfig = aggregation_config.AggregationConfig
AttackConfig = attack_config.AttackConfig
TaskConfig = task_config.TaskConfig


# Increases when fields are added. New fields are listed below; in a file of an older schema they have their defaults.
SCHEMA = 6
_NEW_IN: Mapping[int, frozenset[str]] = {
    2: frozenset(('model_option', 'imports', 'algorithm_option', 'loss', 'loss_option', 'aggregator_option',
                  'pixel_range', 'label_case', 'finding_separator', 'secure_statistical_bits')),
    3: frozenset(('example_noise', 'example_adaptive_clip', 'example_average', 'example_copies', 'example_shift',
                  'example_mirror', 'audit_canaries', 'audit_confidence', 'client_validation_fraction', 'select_best',
                  'patience', 'evaluation_noise_multiplier', 'augment_rotation', 'augment_translation',
                  'augment_scale', 'augment_brightness', 'augment_contrast', 'augment_erasing', 'augment_mixup',
                  'class_weights', 'focal_gamma', 'target_range', 'class_order', 'target', 'dice_weight',
                  'ignore_index', 'max_boxes', 'client_by', 'slice_axis', 'image_column', 'label_column',
                  'client_column')),
    4: frozenset(('key_holder', 'client_shift', 'shift_gamma', 'shift_blur', 'shift_brightness', 'qfedavg_q',
                  'afl_rate', 'contribution', 'contribution_metric', 'contribution_permutations',
                  'contribution_tolerance', 'evaluation_most_examples', 'volume_depth')),
    5: frozenset(('loss_scale',)),
    6: frozenset(('personalize_learning_rate',))}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProgramConfig:
  """How long to train and how often to look."""
  rounds: int = option.option(80, 'Rounds of training.')
  rounds_per_evaluation: int = option.option(10, 'Evaluate every so many rounds.')
  seed: int = option.option(0, 'Fixes data split, cohorts, initial weights and order of examples.')
  select_best: str | None = option.option(
      None, 'Keep the model of the round that is best by this metric (accuracy, auc, loss) on the clients\' validation '
      'examples, added up over clients as whole numbers; unset: of the last round.')
  patience: int | None = option.option(
      None, 'End after so many evaluations in which select_best finds no better model; unset: after all rounds.')

  def __post_init__(self):
    if self.patience is not None:
      validate.positive(patience=self.patience)
      if self.select_best is None:
        raise ValueError(f'patience={self.patience} has no effect without select_best, which says what is better.')
    validate.positive(rounds=self.rounds, rounds_per_evaluation=self.rounds_per_evaluation)
    validate.non_negative(seed=self.seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
  """Everything that the result of a run depends on."""
  data: DataConfig = DataConfig()
  task: TaskConfig = TaskConfig()
  model: ModelConfig = ModelConfig()
  algorithm: AlgorithmConfig = AlgorithmConfig()
  client: ClientConfig = ClientConfig()
  server: ServerConfig = ServerConfig()
  schedule: ScheduleConfig = ScheduleConfig()
  cohort: CohortConfig = CohortConfig()
  privacy: PrivacyConfig = PrivacyConfig()
  secure: SecureConfig = SecureConfig()
  aggregation: AggregationConfig = AggregationConfig()
  attack: AttackConfig = AttackConfig()
  program: ProgramConfig = ProgramConfig()

  @property
  def promises(self) -> bool:
    """Whether clients or examples have a guarantee, by differential privacy or by a hidden sum."""
    return self.privacy.privacy != 'none' or self.secure.secure_sum != 'none'

  def __post_init__(self):
    self.check()

  def check(self, *beside: Any, instead: Mapping[str, catalogue.Row] | None = None) -> None:
    """Refuses settings of the experiment that are incompatible with each other or with the sections in `beside`.

    Args:
      instead: Field -> row of a user's object, for fields that hold a reference whose target is loaded.

    Raises:
      ValueError: With the settings and the reason.
    """
    compatibility.check(*self._sections(), *beside, instead=instead)

  def check_references(self) -> None:
    """Refuses settings that are incompatible with the targets of references; imports the modules of these targets.

    Raises:
      ValueError: With the settings and the reason; or the target of a reference does not exist.
    """
    self.check(instead=compatibility.rows_of_references(*self._sections()))

  def _sections(self):
    return [getattr(self, name) for name in sections(ExperimentConfig)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaunchConfig:
  """Where a run's files go; the result does not depend on it."""
  run_dir: str | None = option.option(
      None, 'Folder of the run; unset makes one below runs/, of data set, algorithm and time.')
  resume: bool | str = option.option(
      False, 'Continue the run in run_dir; flags not given are taken from it. --resume=auto begins one where there is '
      'none, so that a batch system can repeat a command.')
  stop_after: int | None = option.option(
      None, 'Stop after this round, with everything saved; the run goes on with --resume.')
  json: str | None = option.option(None, 'File that also receives the numbers, as JSON.', topic='Output')
  keep_secrets: bool = option.option(
      False, 'Do not wipe run_dir/secret (checkpoints, journal, clients\' states) when a run under a promise ends.')
  show_training_data: bool = option.option(
      False, 'Training images and class mix in the report of a run under a promise, which does not cover them.')

  tracker: str = option.option('none', 'Where else rounds and results go.')
  tracker_dir: str | None = option.option(
      None, 'mlflow, wandb: folder for what is not sent to a server; unset is run_dir/tracking.')

  def __post_init__(self):
    if self.resume not in (True, False, 'auto'):
      raise ValueError(f'resume must be true, false or auto, found {self.resume!r}.')
    if self.resume and self.run_dir is None:
      raise ValueError('resume needs run_dir, the folder of the run to continue.')
    if self.stop_after is not None:
      validate.positive(stop_after=self.stop_after)
    option.check_choices(self)
    compatibility.check(self)

  def settled(self) -> 'LaunchConfig':
    """Returns the same with `resume` True or False: `auto` means True if run_dir holds a run."""
    if self.resume != 'auto':
      return self
    return dataclasses.replace(self, resume=pathlib.Path(str(self.run_dir), 'config.json').exists())


# Settings that train well on image files of unknown kind and size; they replace the defaults for small grey images.
_FITTING: Mapping[str, Mapping[str, Mapping[str, Any]]] = dict.fromkeys(
    ('folder', 'parquet', 'webdataset', 'leaf'),
    {'model': {'model': 'cnn_gn'}, 'client': {'client_learning_rate': 0.05}, 'data': {'preprocess': 'standardize'}})


# Settings that a task starts from, where the usual ones do not fit it.
_OF_TASK: Mapping[str, Mapping[str, Any]] = {
    'detection': {'model': ModelConfig(model='centernet_gn'),
                  'client': ClientConfig(client_optimizer='adam', client_learning_rate=0.002)},
    'segmentation': {'model': ModelConfig(model='unet_gn_small'), 'client': ClientConfig(client_learning_rate=0.1)}}


def of_task(task: Any) -> ExperimentConfig:
  """Returns the experiment with default values for a task: a name, or the user's own."""
  sections = _OF_TASK.get(task, {}) if isinstance(task, str) else {}
  return ExperimentConfig(**({'task': TaskConfig(task=task), **sections} if sections else {}))


def fitting(config: ExperimentConfig, given: Collection[str]) -> ExperimentConfig:
  """Returns `config` with defaults that fit a user's own image files, for fields that the user has not set.

  Args:
    config: The config of an experiment.
    given: The fields that the user has set; if the model is among them, nothing is changed.
  """
  if config.task.task not in ('classification', 'ordinal', 'regression') or {'model', 'initial_model'} & set(given):
    return config
  changes = _FITTING.get(config.data.dataset, {}) if isinstance(config.data.dataset, str) else {}
  made = {name: dataclasses.replace(getattr(config, name), **{
      field: value for field, value in fields.items() if field not in given}) for name, fields in changes.items()}
  if config.privacy.privacy != 'none':  # No default may depend on the mean and deviation of private images.
    made.pop('data', None)
  if config.client.client_optimizer != 'sgd':
    made.pop('client', None)
  return dataclasses.replace(config, **made)


def with_fewer_clients(config: ExperimentConfig) -> ExperimentConfig:
  """Returns `config` with a cohort of all clients, if `num_clients` is smaller than its cohort."""
  clients = config.data.num_clients
  if clients is None or clients >= config.cohort.cohort_size:
    return config
  return dataclasses.replace(config, cohort=dataclasses.replace(config.cohort, cohort_size=clients))


def sections(kind: type = ExperimentConfig) -> Mapping[str, type]:
  """Returns the name and the class of each part of an experiment; `kind` is its class."""
  return typing.get_type_hints(kind)


def described(config: Any) -> dict[str, dict[str, Any]]:
  """Returns section -> field -> value, in JSON types; an object is described by `plugins.describe`."""
  return {name: {field.name: plugins.describe(getattr(getattr(config, name), field.name))
                 for field in dataclasses.fields(section)} for name, section in sections(type(config)).items()}


def readable(config: Any) -> dict[str, dict[str, Any]]:
  """Returns `described` with each object replaced by its name, for reports."""
  return {section: {name: value[plugins.OWN] if isinstance(value, dict) and plugins.OWN in value else value
                    for name, value in fields.items()} for section, fields in described(config).items()}


def to_json(config: Any) -> str:
  """Returns `config` as JSON text that `from_json` turns into an equal config, unless it holds objects."""
  return json.dumps({'schema': SCHEMA, **described(config)}, indent=2) + '\n'


def read_description(text: str, kind: type = ExperimentConfig) -> dict[str, dict[str, Any]]:
  """Returns the result of `described` from the text of `to_json`; fields that an older schema lacks get defaults.

  Raises:
    ValueError: The text is not a JSON object of exactly these sections and fields, or it has a newer schema.
  """
  parsed = json.loads(text)
  schema = parsed.pop('schema', 1) if isinstance(parsed, dict) else 1
  if not isinstance(schema, int) or schema > SCHEMA:
    raise ValueError(f'the config has schema {schema!r}; this version reads schemas up to {SCHEMA}.')
  newer = frozenset().union(*(names for number, names in _NEW_IN.items() if number > schema))
  _same_names('the config', parsed, sections(kind))
  for name, section in sections(kind).items():
    fields = {field.name: field for field in dataclasses.fields(section)}
    if isinstance(parsed[name], dict):
      parsed[name] = {**{field: plugins.describe(_default(fields[field])) for field in newer & fields.keys()},
                      **parsed[name]}
    _same_names(f'section {name} of the config', parsed[name], fields)
  return parsed


def from_json(text: str, kind: type = ExperimentConfig) -> Any:
  """Returns the config of class `kind` that `to_json` wrote.

  Raises:
    ValueError: As for `read_description`; or a value is illegal, or is an object that cannot be restored from text.
  """
  made = {}
  for name, fields in read_description(text, kind).items():
    for field, value in fields.items():
      if isinstance(value, dict) and plugins.OWN in value:
        raise ValueError(f'{field} is an object of the Python program that made the run ({value[plugins.OWN]}): go on '
                         f'from there, or give {field} as package.module:attribute, which every pipeline can read.')
    typed.check(sections(kind)[name], fields)
    made[name] = sections(kind)[name](**{
        field: tuple(value) if isinstance(value, list) else value for field, value in fields.items()})
  return kind(**made)


def _default(field):
  return field.default if field.default is not dataclasses.MISSING else field.default_factory()


def _same_names(what, found, expected):
  if not isinstance(found, dict):
    raise ValueError(f'{what} must be a JSON object, found {found!r:.60}.')
  if wrong := sorted(set(found) ^ set(expected)):
    raise ValueError(f'{what} lacks or has unknown names: {", ".join(wrong)}.')
