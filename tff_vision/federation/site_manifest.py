"""What a site has prepared for a plan: numbers of examples and hashes of its record files, in `site.json`.

The file stays at the site. Nothing here imports TensorFlow.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from tff_vision.federation import plan as plan_lib
from tff_vision.federation import private_counts, reading
from tff_vision.program import json_file

NAME = 'site.json'
VERSION = 1
SPLITS = ('train', 'validation', 'test')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Client:
  """One of the plan's clients at a site.

  Attributes:
    name: Its id in the plan.
    number: Its number in the plan.
    counts: Split -> number of examples.
    patients: Split -> number of groups of images that stay together.
    classes: Split -> number of examples of each class or finding, in the order of the plan's names.
  """
  name: str
  number: int
  counts: Mapping[str, int]
  patients: Mapping[str, int]
  classes: Mapping[str, Sequence[int]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SiteManifest:
  """What a site has prepared.

  Attributes:
    plan: `data_digest` of the plan for which it was prepared.
    site: Name of the site in the plan.
    files: Name of a record file -> SHA-256 of its content.
  """
  version: int = VERSION
  plan: str
  site: str
  clients: tuple[Client, ...]
  files: Mapping[str, str]

  def to_json(self) -> str:
    """Returns the text of site.json."""
    return json.dumps(dataclasses.asdict(self), indent=2) + '\n'

  def check(self, folder: str | os.PathLike[str], plan: plan_lib.Plan | None = None) -> None:
    """Refuses a folder whose record files are not those that were prepared.

    Args:
      plan: The plan that will be run; None: it is not compared.

    Raises:
      ValueError: The records were prepared for another plan, or a file is missing, changed or unknown.
    """
    folder = pathlib.Path(folder)
    if plan is not None and data_digest(plan) != self.plan:
      raise ValueError(f'{folder / NAME} was prepared for a plan with another kind of images, another normal_class or '
                       'other sites: run pipelines.prepare again with this plan.')
    if plan is not None:
      private_counts.check_site(plan.most_examples, {one.name: one.counts['train'] for one in self.clients})
    there = {path.name for path in folder.glob('*.tfrecord')}
    for name in sorted(set(self.files) - there):
      raise ValueError(f'{folder / name} is missing, and {NAME} lists it: run pipelines.prepare again.')
    for name in sorted(there - set(self.files)):
      raise ValueError(f'{folder / name} is not listed in {NAME}: take it away, or run pipelines.prepare again.')
    for name, digest in sorted(self.files.items()):
      if digest_of(folder / name) != digest:
        raise ValueError(f'{folder / name} has changed since it was prepared: run pipelines.prepare again.')


def data_digest(plan: plan_lib.Plan) -> str:
  """Returns the SHA-256 of what a plan says of images and clients; how they are trained on may change."""
  said = plan.described()
  clients = [[site['name'], site['clients']] for site in said['sites']]
  # What a survey measured in these records is of training. As of a plan without it: digests stay what they were.
  stored = said['schema'] | {'mean': [], 'std': [], 'measured': False}
  normal = plan.experiment().data.normal_class  # Records for training are of this class only.
  parts = [stored, clients] if normal is None else [stored, clients, normal]
  return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def digest_of(path: pathlib.Path) -> str:
  """Returns the SHA-256 of a file's content."""
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def read(folder: str | os.PathLike[str]) -> SiteManifest:
  """Returns the manifest in a folder that `pipelines.prepare` wrote.

  Raises:
    ValueError: It is missing or something else.
  """
  path = pathlib.Path(folder) / NAME
  found = json_file.load(path, str(path), made_by='python -m pipelines.prepare writes it')
  try:
    return _of(found)
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from None


def _of(found: Any) -> SiteManifest:
  part = reading.versioned('the manifest', found, SiteManifest, VERSION, made_by='python -m pipelines.prepare')
  clients = [reading.Part('one of the clients', one, [field.name for field in dataclasses.fields(Client)])
             for one in part.list('clients')]
  return SiteManifest(
      plan=part.text('plan'), site=part.text('site'), files=part.text_of_each('files'),
      clients=tuple(Client(name=one.text('name'), number=one.whole('number'), counts=_of_splits(one, 'counts'),
                           patients=_of_splits(one, 'patients'), classes=_classes(one)) for one in clients))


def _of_splits(client, name):
  part = reading.Part(f'{name} of a client', client.value(name), SPLITS)
  return {split: part.whole(split) for split in SPLITS}


def _classes(client):
  part = reading.Part('classes of a client', client.value('classes'), SPLITS)
  return {split: list(part.wholes(split)) for split in SPLITS}
