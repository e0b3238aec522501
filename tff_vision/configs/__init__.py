"""One experiment, as data: frozen dataclasses that are legal if they exist, with an exact JSON round trip.

A field's name is the name of its command-line flag, so field names are unique over all classes here. Field
defaults are the only place where a default value stands; `flags/` reads them. What may be chosen stands in these
modules too, because the registries that give the names a meaning need TensorFlow; tests hold both equal.
"""

import dataclasses
import json
import typing
from collections.abc import Collection, Mapping
from typing import Any

from tff_vision import plugins
from tff_vision.configs import (
    aggregation_config,
    attack_config,
    cohort_config,
    compatibility,
    data_config,
    model_config,
    privacy_config,
    schedule_config,
    secure_config,
    task_config,
    training_config,
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


# Grows with new fields, which are listed below: in a file of an older schema they have their defaults.
SCHEMA = 3
_NEW_IN: Mapping[int, frozenset[str]] = {2: frozenset((
    'model_option', 'imports', 'algorithm_option', 'loss', 'loss_option', 'aggregator_option', 'pixel_range',
    'label_case', 'finding_separator', 'secure_statistical_bits')),
    3: frozenset(('audit_canaries', 'audit_confidence'))}


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
    """Whether something is promised to clients or examples, by differential privacy or by a hidden sum."""
    return self.privacy.privacy != 'none' or self.secure.secure_sum != 'none'

  def __post_init__(self):
    training_config.check_together(self.algorithm, self.client, self.server)
    task_config.check_together(self.task, self.data, self.model, self.privacy.privacy)
    name = self.algorithm.algorithm
    compatibility.check(name, f'privacy={self.privacy.privacy}', f'secure_sum={self.secure.secure_sum}')
    waits = self.cohort.over_selection > 1 or self.cohort.round_deadline is not None
    if name == 'fedbuff' and not waits:
      raise ValueError('algorithm=fedbuff takes updates that come late, and none does without over_selection or '
                       'round_deadline.')
    if name == 'ifca' and not self.schedule.server_is_constant():
      raise ValueError(f'server_schedule={self.schedule.server_schedule} with server_warmup_rounds='
                       f'{self.schedule.server_warmup_rounds} does not go with algorithm=ifca, whose models are the '
                       'means of their clients: choose constant and 0.')
    if self.algorithm.personalize_epochs and self.privacy.privacy != 'none':
      raise ValueError(f'personalize_epochs={self.algorithm.personalize_epochs} does not go with '
                       f'privacy={self.privacy.privacy}: the report would tell how good the clients\' own models are, '
                       'and no noise covers that.')
    if self.privacy.metrics_noise_multiplier is not None and self.task.task != 'classification':
      raise ValueError(f'metrics_noise_multiplier={self.privacy.metrics_noise_multiplier} releases accuracy, which '
                       f'task={self.task.task} has none of.')
    if self.privacy.privacy in compatibility.CLIENT_LEVEL and self.algorithm.client_weighting == 'examples':
      raise ValueError(f'client_weighting=examples does not go with privacy={self.privacy.privacy}: how much an update '
                       'weighs would depend on the client\'s data, and the noise is calibrated to clients that all '
                       'weigh the same.')
    if self.privacy.audit_canaries and self.attack.attack != 'none':
      raise ValueError(f'audit_canaries={self.privacy.audit_canaries} does not go with attack={self.attack.attack}: '
                       'attackers are chosen among all clients, and what they do to canaries the promise is not about.')
    if self.privacy.privacy == 'example_dp_sgd':
      _refuse_other_training(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaunchConfig:
  """Where a run's files go; the result does not depend on it.

  Attributes:
    run_dir: The run's folder; None means runs/<dataset>-<algorithm>-<time>.
    resume: Continue the run that run_dir holds.
    json: File that also receives report.json's content.
    keep_secrets: Leave checkpoints, journal and clients' states in the folder when a run under a promise has ended.
    show_training_data: Put training images and class mix into the report of a run under a promise, which does not cover
      them.
  """
  run_dir: str | None = None
  resume: bool = False
  json: str | None = None
  keep_secrets: bool = False
  show_training_data: bool = False

  def __post_init__(self):
    if self.resume and self.run_dir is None:
      raise ValueError('resume needs run_dir, the folder of the run to continue.')


# What trains well on image files of unknown kind and size, in place of the defaults for small grey images.
_FITTING: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    'folder': {'model': {'model': 'cnn_gn'}, 'client': {'client_learning_rate': 0.05},
               'data': {'preprocess': 'standardize'}}}


def fitting(config: ExperimentConfig, given: Collection[str]) -> ExperimentConfig:
  """Returns `config` with defaults that fit a user's own image files, where the user has chosen nothing else.

  Args:
    config: Of an experiment.
    given: Fields that the user has set; if the model is among them, nothing is changed.
  """
  if config.task.task != 'classification' or {'model', 'initial_model'} & set(given):
    return config
  changes = _FITTING.get(config.data.dataset, {}) if isinstance(config.data.dataset, str) else {}
  made = {name: dataclasses.replace(getattr(config, name), **{
      field: value for field, value in fields.items() if field not in given}) for name, fields in changes.items()}
  if config.privacy.privacy != 'none':  # The mean and deviation of private images are no default.
    made.pop('data', None)
  if config.client.client_optimizer != 'sgd':
    made.pop('client', None)
  return dataclasses.replace(config, **made)


def sections(kind: type = ExperimentConfig) -> Mapping[str, type]:
  """Returns the name and the class of each part of an experiment; `kind` is its class."""
  return typing.get_type_hints(kind)


def described(config: Any) -> dict[str, dict[str, Any]]:
  """Returns section -> field -> value, as JSON has it; an object is described by `plugins.describe`."""
  return {name: {field.name: plugins.describe(getattr(getattr(config, name), field.name))
                 for field in dataclasses.fields(section)} for name, section in sections(type(config)).items()}


def readable(config: Any) -> dict[str, dict[str, Any]]:
  """Returns `described` with the name of each object in the object's place, for reports."""
  return {section: {name: value[plugins.OWN] if isinstance(value, dict) and plugins.OWN in value else value
                    for name, value in fields.items()} for section, fields in described(config).items()}


def to_json(config: Any) -> str:
  """Returns `config` as JSON text that `from_json` turns into an equal config, unless it holds objects."""
  return json.dumps({'schema': SCHEMA, **described(config)}, indent=2) + '\n'


def read_description(text: str, kind: type = ExperimentConfig) -> dict[str, dict[str, Any]]:
  """Returns what `described` gave, from `to_json`'s text; fields that an older schema lacks have their defaults.

  Raises:
    ValueError: The text is no JSON object of exactly these sections and fields, or of a newer schema.
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
    ValueError: As `read_description`; or a value is illegal, or an object that text cannot bring back.
  """
  made = {}
  for name, fields in read_description(text, kind).items():
    for field, value in fields.items():
      if isinstance(value, dict) and plugins.OWN in value:
        raise ValueError(f'{field} is an object of the Python program that made the run ({value[plugins.OWN]}): go on '
                         f'from there, or give {field} as package.module:attribute, which every pipeline can read.')
    made[name] = sections(kind)[name](**{
        field: tuple(value) if isinstance(value, list) else value for field, value in fields.items()})
  return kind(**made)


def _default(field):
  return field.default if field.default is not dataclasses.MISSING else field.default_factory()


def _refuse_other_training(config):
  """Refuses what only the ordinary local training reads."""
  unread = {'client_gradient_clip': config.client.client_gradient_clip,
            'client_weight_decay': config.client.client_weight_decay or None,
            'client_schedule': None if config.schedule.client_is_constant() else config.schedule.client_schedule,
            'client_weighting': 'uniform' if config.algorithm.client_weighting == 'uniform' else None}
  for name, value in unread.items():
    if value is not None:
      raise ValueError(f'{name}={value} has no effect with privacy=example_dp_sgd, which trains on clients by itself.')


def _same_names(what, found, expected):
  if not isinstance(found, dict):
    raise ValueError(f'{what} must be a JSON object, found {found!r}.')
  if wrong := sorted(set(found) ^ set(expected)):
    raise ValueError(f'{what} lacks or has unknown names: {", ".join(wrong)}.')
