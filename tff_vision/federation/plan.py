"""A federation's plan: what will be computed, from what kind of images, at which sites. Made without any data.

The coordinator and every site hold the same file `plan.json`; its digest says whether they do. Nothing here imports
TensorFlow.
"""

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import tff_vision
from tff_vision import configs
from tff_vision.configs import runtime_config, typed, validate
from tff_vision.federation import private_counts, reading
from tff_vision.program import json_file

VERSION = 1
# The parts of `RuntimeConfig` that belong to a federation, and not to one machine of it.
RUNTIME = ('worker_data_dir', 'clients_per_call', 'min_workers', 'call_timeout', 'probe_interval', 'reconnect_timeout',
           'attempts')
_LARGEST_SIDE = 2**16
_DTYPES = ('uint8', 'float32')
_TASKS = ('classification', 'anomaly', 'embedding')  # Whose labels are classes or findings.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schema:
  """The kind of images and labels that every site has.

  Attributes:
    image_shape: (height, width, channels) of a stored image.
    dtype: Type of stored pixels, uint8 or float32.
    class_names: One name for each class number, or for each finding.
    task: As the field `task` of a config.
    multi_label: Whether an image has findings rather than one class.
    stored_range: The stored values of black and of white.
    mean: The mean of each channel, for preprocess=standardize, after scaling to 0..1; empty: not known.
    std: The deviation of each channel, likewise.
    measured: Whether mean and std were measured in the sites' images without noise, so that the model tells them.
  """
  image_shape: tuple[int, int, int]
  dtype: str
  class_names: tuple[str, ...]
  task: str = 'classification'
  multi_label: bool = False
  stored_range: tuple[float, float] = (0.0, 255.0)
  mean: tuple[float, ...] = ()
  std: tuple[float, ...] = ()
  measured: bool = False

  def __post_init__(self):
    if len(self.image_shape) != 3 or not 1 <= min(self.image_shape) <= max(self.image_shape) <= _LARGEST_SIDE:
      raise ValueError(f'image_shape must be height,width,channels, three positive numbers of at most {_LARGEST_SIDE}; '
                       f'found {",".join(map(str, self.image_shape))!r}.')
    if self.dtype not in _DTYPES:
      raise ValueError(f'dtype must be {" or ".join(_DTYPES)}, found {self.dtype!r}.')
    if self.task not in _TASKS:
      raise ValueError(f'task={self.task} is not for a plan: its sites\' records hold classes or findings '
                       f'({", ".join(_TASKS)}).')
    if not self.class_names or '' in self.class_names:
      raise ValueError('class_names is missing: name each class or finding, in the order of the labels\' numbers.')
    if twice := sorted({name for name in self.class_names if self.class_names.count(name) > 1}):
      raise ValueError(f'class_names has {", ".join(twice)} more than once.')
    black, white = self.stored_range
    if not black < white:
      raise ValueError(f'stored_range must be BLACK,WHITE, of which the second is larger; found {black:g},{white:g}.')
    if self.dtype == 'uint8' and self.stored_range != (0.0, 255.0):
      raise ValueError(f'stored_range={black:g},{white:g} is for dtype=float32; uint8 is stored as 0..255.')
    if len(self.mean) != len(self.std) or self.mean and len(self.mean) != self.image_shape[2]:
      raise ValueError(f'pixel_mean and pixel_std must have one number for each of {self.image_shape[2]} channels, '
                       f'found {len(self.mean)} and {len(self.std)}.')
    if self.std and min(self.std) <= 0:
      raise ValueError(f'pixel_std must be positive, found {min(self.std):g}.')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Site:
  """An institution.

  Attributes:
    name: Its name in reports.
    address: host:port at which the coordinator reaches its worker.
    clients: The ids of its clients, in order.
  """
  name: str
  address: str
  clients: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """A federation. Client i of the plan is the i-th of all sites' clients, the sites one after the other.

  Attributes:
    software: Package -> version, of the installation that made the plan.
    config: The experiment, as config.json describes it.
    runtime: The fields `RUNTIME` of the runtime.
    sites: The institutions; one worker each.
    rounds: The number of rounds of training.
    shares_site_metrics: Whether every site's own numbers may be told to the coordinator; otherwise it has sums only.
    computations: The digests of all computations that a site will be asked to run; empty: not recorded.
    most_examples: No worker says how many training examples a client has, and it has at most so many; None: they do.
  """
  version: int = VERSION
  software: Mapping[str, str]
  schema: Schema
  config: Mapping[str, Any]
  runtime: Mapping[str, Any]
  sites: tuple[Site, ...]
  rounds: int
  shares_site_metrics: bool = False
  computations: tuple[str, ...] = ()
  most_examples: int | None = None

  def __post_init__(self):
    if self.version != VERSION:
      raise ValueError(f'the plan has version {self.version!r}; this version reads {VERSION}.')
    if len(self.sites) < 2:
      raise ValueError(f'sites must name two sites or more, found {len(self.sites)}.')
    for what, found in (('sites', [site.name for site in self.sites]),
                        ('addresses of sites', [site.address for site in self.sites]),
                        ('clients', list(self.clients))):
      if twice := sorted({one for one in found if found.count(one) > 1}):
        raise ValueError(f'the plan has {what} with equal names: {", ".join(twice)}.')
    for site in self.sites:
      if not site.clients:
        raise ValueError(f'site {site.name} has no clients.')
      validate.address(**{f'the address of site {site.name}': site.address})
    self.experiment().check(self.run_by())  # Raises if settings are illegal or do not go together.
    if self.most_examples is not None:
      private_counts.check(self.experiment(), clients=len(self.clients), min_workers=self.runtime['min_workers'],
                           sites=len(self.sites), shares_site_metrics=self.shares_site_metrics)
    if self.rounds != self.config['program']['rounds']:
      raise ValueError(f'the plan has rounds={self.rounds}, and its config rounds={self.config["program"]["rounds"]}.')

  @property
  def clients(self) -> tuple[str, ...]:
    """The ids of all clients, in the order of their numbers."""
    return tuple(client for site in self.sites for client in site.clients)

  @property
  def site_of_clients(self) -> tuple[int, ...]:
    """For each client, the number of its site."""
    return tuple(number for number, site in enumerate(self.sites) for _ in site.clients)

  @functools.cached_property
  def digest(self) -> str:
    """The SHA-256 of the plan's canonical JSON."""
    return hashlib.sha256(json.dumps(self.described(), sort_keys=True, separators=(',', ':')).encode()).hexdigest()

  def described(self) -> dict[str, Any]:
    """Returns the plan as JSON types; `of` makes an equal plan of them."""
    found = json.loads(json.dumps(dataclasses.asdict(self)))
    if self.most_examples is None:  # As before this could be said, so that digests stay what they were.
      del found['most_examples']
    return found

  def to_json(self) -> str:
    """Returns the text of plan.json."""
    return json.dumps(self.described(), indent=2) + '\n'

  def experiment(self, path: str | os.PathLike[str] | None = None) -> configs.ExperimentConfig:
    """Returns the experiment's config; its images are those that the plan at `path` describes.

    Raises:
      ValueError: A setting is illegal, or settings do not go together.
    """
    config = configs.from_json(json.dumps({'schema': configs.SCHEMA, **self.config}))
    if config.data.dataset != 'plan':
      raise ValueError(f'a plan has dataset=plan, found {config.data.dataset!r}.')
    found = None if path is None else os.path.abspath(path)
    return dataclasses.replace(config, data=dataclasses.replace(config.data, data_dir=found))

  def run_by(self, *, local_workers: int | None = None) -> runtime_config.RuntimeConfig:
    """Returns the runtime of the sites' workers, each of which reads its own clients' files.

    Args:
      local_workers: So many workers on this machine stand in for the sites; None: the sites' own.

    Raises:
      ValueError: A value is illegal, or `local_workers` is not the number of sites.
    """
    if local_workers not in (None, len(self.sites)):
      raise ValueError(f'local_workers={local_workers} would stand in for the sites of the plan, and it has '
                       f'{len(self.sites)}.')
    return runtime_config.RuntimeConfig(
        runtime='workers', data_placement='worker', local_workers=local_workers,
        workers=() if local_workers else tuple(site.address for site in self.sites),
        clients_on_workers=tuple(str(len(site.clients)) for site in self.sites), **self.runtime)

  def check_software(self) -> None:
    """Raises ValueError if this installation is not of the versions that made the plan."""
    here = installed()
    if other := [f'{name} {version} there and {here.get(name, "none")} here' for name, version in self.software.items()
                 if here.get(name) != version]:
      raise ValueError(f'the plan was made with other versions: {"; ".join(other)}.')


def of(found: Any) -> Plan:
  """Returns the plan that `Plan.described` gave.

  Raises:
    ValueError: It is something else; the sentence names the part.
  """
  if isinstance(found, dict):
    found = {'most_examples': None, **found}
  part = reading.Part('the plan', found, [field.name for field in dataclasses.fields(Plan)])
  if part.whole('version') != VERSION:
    raise ValueError(f'the plan has version {part.whole("version")}; this version reads {VERSION}.')
  schema = reading.Part('schema of the plan', part.value('schema'),
                        [field.name for field in dataclasses.fields(Schema)])
  sites = [reading.Part('one of the sites of the plan', site, ('name', 'address', 'clients'))
           for site in part.list('sites')]
  black_white = schema.numbers('stored_range')
  if len(black_white) != 2:
    raise ValueError(f'schema of the plan: stored_range must be two numbers, found {len(black_white)}.')
  runtime = reading.Part('runtime of the plan', part.value('runtime'), RUNTIME).content
  typed.check(runtime_config.RuntimeConfig, runtime)
  return Plan(
      software=part.text_of_each('software'),
      schema=Schema(image_shape=schema.wholes('image_shape'), dtype=schema.text('dtype'),  # type: ignore[arg-type]
                    class_names=schema.texts('class_names'), task=schema.text('task'),
                    multi_label=schema.flag('multi_label'), stored_range=black_white, mean=schema.numbers('mean'),
                    std=schema.numbers('std'), measured=schema.flag('measured')),
      config=part.mapping('config'),
      runtime=runtime,
      sites=tuple(Site(name=site.text('name'), address=site.text('address'), clients=site.texts('clients'))
                  for site in sites),
      rounds=part.whole('rounds'), shares_site_metrics=part.flag('shares_site_metrics'),
      computations=part.texts('computations'),
      most_examples=None if part.value('most_examples') is None else part.whole('most_examples'))


def read(path: str | os.PathLike[str]) -> Plan:
  """Returns the plan in a file.

  Raises:
    ValueError: The file is missing or holds no plan.
  """
  found = json_file.load(path, f'plan={str(path)!r}', made_by='python -m pipelines.plan makes one')
  try:
    return of(found)
  except ValueError as error:
    raise ValueError(f'plan={str(path)!r}: {error}') from None


def make(config: configs.ExperimentConfig, schema: Schema, sites: Sequence[Site], runtime: runtime_config.RuntimeConfig,
         *, shares_site_metrics: bool = False, most_examples: int | None = None) -> Plan:
  """Returns the plan of an experiment with dataset=plan.

  Raises:
    ValueError: The parts are incompatible.
  """
  return Plan(software=installed(), schema=schema, config=json.loads(json.dumps(configs.described(config))),
              runtime={name: getattr(runtime, name) for name in RUNTIME}, sites=tuple(sites),
              rounds=config.program.rounds, shares_site_metrics=shares_site_metrics, most_examples=most_examples)


def installed() -> dict[str, str]:
  """Returns package -> version of what decides on the computations of a run."""
  return {'tff_vision': tff_vision.__version__,
          **{name.replace('-', '_'): importlib.metadata.version(name)
             for name in ('tensorflow', 'tensorflow-federated')}}


def locate(data_dir: str | None) -> tuple[bool, str]:
  """Returns whether `data_dir` is a file, and what it must be."""
  if data_dir is not None and pathlib.Path(data_dir).is_file():
    return True, data_dir
  return False, 'the images are at the sites: python -m pipelines.train --plan=plan.json'
