"""A site's own images as records for a plan: labels mapped, shapes and values checked, split without a shared patient.

Everything is checked before the first byte is written, except that images are decoded while records are written; the
folder appears when it is complete.
"""

import csv
import dataclasses
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from tff_vision import seeds
from tff_vision.data import images, records
from tff_vision.data.sources import decode, files, listing, manifest, naming
from tff_vision.federation import images as federated
from tff_vision.federation import plan as plan_lib
from tff_vision.federation import site_manifest

GROUPS = ('patient', 'folder', 'image')
_CHUNK = 256
_NAMES = {'train': 'train', 'val': 'validation', 'test': 'test'}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """What a site wants to have prepared.

  Attributes:
    site: The site's name in the plan.
    data_dir: Folder of its images, as `--dataset=folder` reads it.
    out: The folder to write; must not exist, or be empty.
    label_map: A table of the site's own labels and the plan's; None: they are the same.
    group_by: Images that must not be in two splits: `patient`, the manifest's column; `folder`, the folder above the
      class; `image`, each image for itself.
    fractions: Shares of groups for validation and test, where the site's files are not split already.
    corrupt_images: As in the data settings.
    missing_classes: Whether the site may have no training image of some of the plan's classes.
  """
  site: str
  data_dir: str
  out: str
  label_map: str | None = None
  group_by: str = 'patient'
  fractions: tuple[float, float] = (0.1, 0.2)
  corrupt_images: str = 'refuse'
  missing_classes: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Table:
  """[n] images. Attributes: y as in `images.Examples`; client: number of the plan's client; split: in `SPLITS`."""
  paths: np.ndarray
  y: np.ndarray
  client: np.ndarray
  group: np.ndarray
  split: np.ndarray


def prepare(plan: plan_lib.Plan, request: Request, say: Callable[[str], None] = lambda text: None
            ) -> site_manifest.SiteManifest:
  """Writes the records and the manifest of a site; returns the manifest.

  Args:
    say: Gets each sentence that a person at the site should read.

  Raises:
    ValueError: The images are not what the plan expects; the sentence names the file.
  """
  site = next((site for site in plan.sites if site.name == request.site), None)
  if site is None:
    raise ValueError(f'site={request.site!r} is none of the plan\'s: {", ".join(site.name for site in plan.sites)}.')
  out = pathlib.Path(request.out)
  if out.exists() and (not out.is_dir() or any(out.iterdir())):
    raise ValueError(f'out={request.out} is there already and not an empty folder.')
  spec = federated.spec_of(plan.schema)
  found = _listed(request, say)
  glances = files.survey(found.paths)
  good, notes = files.usable(found.paths, glances, request.corrupt_images)
  for note in (*found.notes, *notes):
    say(note)
  table = _table(plan, site, found, np.flatnonzero(good), request, say)
  _check(table, plan, request, say)
  height, width, channels = decode.native(table.paths[0]).shape
  if (height, width, channels) != spec.shape:
    say(f'{table.paths[0]} is {height}x{width}x{channels}; every image is brought to the plan\'s '
        f'{"x".join(map(str, spec.shape))}, whatever its proportions.')
  return _written(plan, site, table, spec, out)


def _listed(request, say):
  root = pathlib.Path(request.data_dir).expanduser()
  if not root.is_dir():
    raise ValueError(f'data_dir={request.data_dir} is no folder.')
  table = manifest.find(root)
  found = manifest.read(table) if table else listing.from_folders(root)
  say(f'{len(found.paths)} image files in {request.data_dir}.')
  return found


def _table(plan, site, found, kept, request, say):
  """Returns the images that are used."""
  pick = lambda column: [column[place] for place in kept]
  paths, splits = pick(found.paths), pick(found.splits)
  y, used = _labels(plan, pick(found.labels), paths, found.separator, request, say)
  client, group = _owners(plan, site, pick(found.clients), pick(found.patients) if found.patients else None, paths,
                          request)
  if splits[0] is not None:
    split = np.array([_NAMES[one] for one in splits])
  else:
    split = np.full(len(paths), '', 'U10')
    split[used] = _split(y[used], group[used], request)
  made = _Table(paths=np.array(paths)[used], y=y[used], client=client[used], group=group[used], split=split[used])
  _refuse_shared(made)
  return made


def _labels(plan, labels, paths, separator, request, say):
  """Returns labels as the plan numbers them, and which images are used."""
  names, mapped = list(plan.schema.class_names), _label_map(request.label_map, plan)
  labels, notes = naming.cleaned(labels, 'labels')
  for note in notes:
    say(note)
  if plan.schema.multi_label:
    separator = separator or naming.SEPARATOR
    parts = [[part.strip() for part in label.split(separator)] for label in labels]
  else:
    parts = [[label] for label in labels]
  used, y, unknown = np.ones(len(labels), bool), [], {}
  for place, own in enumerate(parts):
    numbers = []
    for label in own:
      name = mapped.get(label, label) if mapped else label
      if name == '' and (mapped or plan.schema.multi_label):
        used[place] &= plan.schema.multi_label
      elif name in names:
        numbers.append(names.index(name))
      elif not (plan.schema.multi_label and naming.is_no_finding(label)):
        unknown.setdefault(label, paths[place])
    y.append(numbers)
  if unknown:
    label, path = next(iter(unknown.items()))
    others = f' ({len(unknown)} such labels)' if len(unknown) > 1 else ''
    raise ValueError(f'{path} has the label {label!r}, which is no class of the plan{others}; the plan has '
                     f'{", ".join(names[:12])}. label_map=FILE, with lines «site\'s label,plan\'s label», translates.')
  if left := int((~used).sum()):
    say(f'{left} images whose label is mapped to nothing are left out.')
  if not used.any():
    raise ValueError(f'data_dir={request.data_dir} has no image with a class of the plan.')
  if plan.schema.multi_label:
    made = np.zeros((len(y), len(names)), np.float32)
    for row, numbers in zip(made, y, strict=True):
      row[numbers] = 1
    return made, used
  return np.array([numbers[0] if numbers else 0 for numbers in y], np.int32), used


def _label_map(path, plan) -> Mapping[str, str]:
  """Returns the site's label -> the plan's label; '' leaves images out."""
  if path is None:
    return {}
  try:
    with open(os.path.expanduser(path), encoding='utf-8-sig', newline='') as file:
      rows = [(number, [cell.strip() for cell in row]) for number, row in enumerate(csv.reader(file), 1) if any(row)]
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise ValueError(f'label_map={path} cannot be read: {getattr(error, "strerror", None) or error}.') from None
  found = {}
  for number, row in rows:
    if len(row) != 2:
      raise ValueError(f'label_map={path} line {number} must have two fields, the site\'s label and the plan\'s; '
                       f'found {len(row)}.')
    if row[1] and row[1] not in plan.schema.class_names:
      raise ValueError(f'label_map={path} line {number} maps to {row[1]!r}, which is no class of the plan: '
                       f'{", ".join(plan.schema.class_names[:12])}.')
    if found.get(row[0], row[1]) != row[1]:
      raise ValueError(f'label_map={path} line {number} maps {row[0]!r} again, to something else.')
    found[row[0]] = row[1]
  return found


def _owners(plan, site, clients, patients, paths, request):
  """Returns the number of the client, and the group, of each image."""
  first = plan.clients.index(site.clients[0])
  if request.group_by == 'patient':
    if patients is None:
      raise ValueError('group_by=patient needs a manifest.csv with a column patient, so that no patient is in two '
                       'splits: add one, or say group_by=folder (folders patient/class/image) or group_by=image (every '
                       'image is of another patient).')
    groups = patients
  elif request.group_by == 'folder':
    if clients[0] is None or len(site.clients) > 1:
      raise ValueError('group_by=folder takes the folder above the class for the patient; here the images lie in '
                       'class/ alone, or the site has several clients.')
    groups = clients
  else:
    groups = [os.path.realpath(path) for path in paths]
  if len(site.clients) == 1:
    return np.full(len(paths), first), np.array(groups, str)
  if clients[0] is None:
    raise ValueError(f'site {site.name} has {len(site.clients)} clients in the plan: say which image is whose, by '
                     'folders client/class/image or a column client.')
  names, _ = naming.cleaned(clients, 'names of clients')
  for name, path in zip(names, paths, strict=True):
    if name not in site.clients:
      raise ValueError(f'{path} is of client {name!r}, which is none of the site\'s: {", ".join(site.clients[:12])}.')
  return np.array([first + site.clients.index(name) for name in names]), np.array(groups, str)


def _split(y, group, request):
  """Returns the split of each image: whole groups, in a fixed random order, to where their classes are wanted most."""
  codes = y if y.ndim == 1 else y @ (2.0 ** np.arange(y.shape[1]))
  _, classes = np.unique(codes, return_inverse=True)
  names, place = np.unique(group, return_inverse=True)
  if len(names) < 3:
    raise ValueError(f'data_dir={request.data_dir} has {len(names)} patients or groups; training, validation and test '
                     'need one each.')
  validation, test = request.fractions
  shares = np.array([1 - validation - test, validation, test])
  counts = np.zeros((len(names), classes.max() + 1))
  np.add.at(counts, (place, classes), 1)
  wanted = shares[:, None] * counts.sum(0)
  order = np.random.default_rng(seeds.derive(0, 'split of a site')).permutation(len(names))
  order = order[np.argsort(-counts[order].sum(1), kind='stable')]
  chosen = np.zeros(len(names), int)
  left = wanted.copy()
  for number in order:
    chosen[number] = int(np.argmax((left * (counts[number] > 0)).sum(1) / np.maximum(wanted.sum(1), 1e-9)))
    left[chosen[number]] -= counts[number]
  for split in range(3):  # Small sites: every split gets a group.
    if shares[split] and not (chosen == split).any():
      donor = np.bincount(chosen, minlength=3).argmax()
      chosen[next(number for number in reversed(order) if chosen[number] == donor)] = split
  return np.array(site_manifest.SPLITS)[chosen[place]]


def _refuse_shared(table):
  of_group = {}
  for path, group, split in zip(table.paths, table.group, table.split, strict=True):
    if of_group.setdefault(group, (split, path))[0] != split:
      raise ValueError(f'{path} is for {split}, and another image of the same patient, {of_group[group][1]}, for '
                       f'{of_group[group][0]}: put all images of a patient into one split.')


def _check(table, plan, request, say):
  for split in site_manifest.SPLITS:
    for client in sorted(set(table.client.tolist())):
      if not ((table.split == split) & (table.client == client)).any():
        sentence = f'client {plan.clients[client]} has no image for {split}.'
        if split == 'train':
          raise ValueError(sentence)
        say(sentence)
  counts = _per_class(table.y[table.split == 'train'], len(plan.schema.class_names))
  if missing := [name for name, count in zip(plan.schema.class_names, counts, strict=True) if not count]:
    sentence = f'no training image has the class {", ".join(missing[:12])} of the plan'
    if not request.missing_classes:
      raise ValueError(f'{sentence}: say missing_classes if this site has none.')
    say(f'{sentence}.')


def _per_class(y, number):
  return [int(n) for n in (np.bincount(y, minlength=number) if y.ndim == 1 else y.sum(0))]


def _written(plan, site, table, spec, out):
  out.parent.mkdir(parents=True, exist_ok=True)
  folder = pathlib.Path(tempfile.mkdtemp(prefix=f'.{out.name}-', dir=out.parent))  # Mode 0700.
  try:
    clients, digests = [], {}
    for name in site.clients:
      number = plan.clients.index(name)
      counts, patients, classes = {}, {}, {}
      for split in site_manifest.SPLITS:
        mine = np.flatnonzero((table.client == number) & (table.split == split))
        path = folder / records.file_name(number, split)
        pool = files.FileExamples(table.paths[mine], table.y[mine], spec.shape, spec.stored_pixels)
        records.write_parts(path, _checked(pool, spec))
        digests[path.name] = site_manifest.digest_of(path)
        counts[split], patients[split] = len(mine), len(set(table.group[mine].tolist()))
        classes[split] = _per_class(table.y[mine], len(plan.schema.class_names))
      clients.append(site_manifest.Client(name=name, number=number, counts=counts, patients=patients, classes=classes))
    made = site_manifest.SiteManifest(plan=site_manifest.data_digest(plan), site=site.name, clients=tuple(clients),
                                      files=digests)
    (folder / site_manifest.NAME).write_text(made.to_json())
    if out.exists():
      out.rmdir()
    folder.replace(out)
  except OSError as error:
    raise ValueError(f'out={out} cannot be written: {error.strerror}.') from None
  finally:
    shutil.rmtree(folder, ignore_errors=True)
  return made


def _checked(pool: files.FileExamples, spec: images.ImageSpec) -> Iterator[images.Examples]:
  for start in range(0, len(pool), _CHUNK):
    part = pool.take(np.arange(start, min(start + _CHUNK, len(pool))))
    if difference := spec.difference(part):
      raise ValueError(f'images of the site have {difference} as the plan says.')
    yield part


def described(made: site_manifest.SiteManifest, class_names: Sequence[str]) -> str:
  """Returns what was prepared, as lines for a person."""
  lines = []
  for client in made.clients:
    for split in site_manifest.SPLITS:
      classes = ', '.join(f'{name} {count}' for name, count in zip(class_names, client.classes[split], strict=True))
      lines.append(f'{client.name}, {split}: {client.counts[split]} images of {client.patients[split]} patients or '
                   f'groups ({classes})')
  return '\n'.join(lines)
