"""A site's own images as records for a plan: labels mapped, shapes and values checked, split without a shared patient.

Everything is checked before the first byte is written, except that images are decoded while records are written; the
folder appears when it is complete.
"""

import contextlib
import dataclasses
import fcntl
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tff_vision import secret_files
from tff_vision.data import images, records
from tff_vision.data.sources import decode, files, listing, manifest, naming
from tff_vision.federation import images as federated
from tff_vision.federation import plan as plan_lib
from tff_vision.federation import private_counts, site_labels, site_manifest, site_split

GROUPS = ('patient', 'folder', 'image')
_CHUNK = 256
_NAMES = {'train': 'train', 'val': 'validation', 'test': 'test'}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """What a site wants to have prepared.

  Attributes:
    site: The site's name in the plan.
    data_dir: Folder of its images, as `--dataset=folder` reads it.
    out: The folder to write, or a link to it; must not exist, or be empty.
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
  out = pathlib.Path(os.path.realpath(request.out))  # Of a link, its target is written.
  if out.exists() and (not out.is_dir() or any(out.iterdir())):
    raise ValueError(f'out={request.out} is there already and not an empty folder.')
  spec = federated.spec_of(plan.schema)
  found = _listed(request, say)
  glances = files.survey(found.paths)
  good, notes = files.usable(found.paths, glances, request.corrupt_images)
  for note in (*found.notes, *notes):
    say(note)
  if not good.any():
    raise ValueError(f'data_dir={request.data_dir} holds no usable image.')
  table = _table(plan, site, found, glances, np.flatnonzero(good), request, say)
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


def _table(plan, site, found, glances, kept, request, say):
  """Returns the images that are used."""
  patients = found.patients
  if patients is None and all(glances[place].patient for place in kept):
    patients = [seen.patient for seen in glances]  # Of DICOM files, hashed.
  pick = lambda column: [column[place] for place in kept]
  paths, splits = pick(found.paths), pick(found.splits)
  y, used = site_labels.of_plan(plan, pick(found.labels), paths, found.separator, request.label_map, say)
  client, group = _owners(plan, site, pick(found.clients), pick(patients) if patients else None, paths,
                          request)
  if splits[0] is not None:
    split = np.array([_NAMES[one] for one in splits])
  else:
    split = np.full(len(paths), '', 'U10')
    split[used] = site_split.by_groups(y[used], group[used], request.fractions)
  used &= _fit_for_training(plan, y, split, say)
  made = _Table(paths=np.array(paths)[used], y=y[used], client=client[used], group=group[used], split=split[used])
  _refuse_shared(made)
  return made


def _fit_for_training(plan, y, split, say):
  """Returns which images stay: for task=anomaly, a site trains on images of normal_class only."""
  normal = plan.experiment().data.normal_class
  if normal is None:
    return np.ones(len(y), bool)
  stays = (split != 'train') | (y == list(plan.schema.class_names).index(normal))
  if left := int((~stays).sum()):
    say(f'{left} training images of other classes than {normal} are left out.')
  return stays


def _owners(plan, site, clients, patients, paths, request):
  """Returns the number of the client, and the group, of each image."""
  first = plan.clients.index(site.clients[0])
  if request.group_by == 'patient':
    if patients is None:
      raise ValueError('group_by=patient needs DICOM files, or a manifest.csv with a column patient, so that no '
                       'patient is in two splits: add one, or say group_by=folder (folders patient/class/image) or '
                       'group_by=image (every image is of another patient).')
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
  train = table.client[table.split == 'train']
  private_counts.check_site(plan.most_examples, {
      name: int((train == plan.clients.index(name)).sum())
      for name in next(site.clients for site in plan.sites if site.name == request.site)})
  counts = _per_class(table.y[table.split == 'train'], len(plan.schema.class_names))
  wanted = plan.experiment().data.normal_class
  if missing := [name for name, count in zip(plan.schema.class_names, counts, strict=True)
                 if not count and wanted in (None, name)]:
    sentence = f'no training image has the class {", ".join(missing[:12])} of the plan'
    if not request.missing_classes:
      raise ValueError(f'{sentence}: say missing_classes if this site has none.')
    say(f'{sentence}.')


def _per_class(y, number):
  return [int(n) for n in (np.bincount(y, minlength=number) if y.ndim == 1 else y.sum(0))]


def _written(plan, site, table, spec, out):
  clients, digests = [], {}
  try:
    with _whole(out) as folder:
      for name in site.clients:
        number = plan.clients.index(name)
        counts, patients, classes = {}, {}, {}
        for split in site_manifest.SPLITS:
          mine = np.flatnonzero((table.client == number) & (table.split == split))
          path = folder / records.file_name(number, split)
          pool = files.FileExamples(table.paths[mine], table.y[mine], spec.shape, spec.stored)
          records.write_parts(path, _checked(pool, spec))
          digests[path.name] = site_manifest.digest_of(path)
          counts[split], patients[split] = len(mine), len(set(table.group[mine].tolist()))
          classes[split] = _per_class(table.y[mine], len(plan.schema.class_names))
        clients.append(site_manifest.Client(name=name, number=number, counts=counts, patients=patients,
                                            classes=classes))
      made = site_manifest.SiteManifest(plan=site_manifest.data_digest(plan), site=site.name, clients=tuple(clients),
                                        files=digests)
      (folder / site_manifest.NAME).write_text(made.to_json())
  except OSError as error:
    raise ValueError(f'out={out} cannot be written: {error.strerror}.') from None
  return made


@contextlib.contextmanager
def _whole(out):
  """Yields a folder of mode 0700 that becomes `out` if the body succeeds; what a killed run left there is removed.

  Raises:
    ValueError: Another process is writing to `out`.
  """
  hidden = out.with_name(f'.{out.name}.part')
  secret_files.make_folder(hidden)
  with open(hidden / 'lock', 'w') as lock:  # A file: some network file systems lock no folders.
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
      if not os.fstat(lock.fileno()).st_nlink:
        raise BlockingIOError  # Its holder has just removed it.
    except BlockingIOError:
      raise ValueError(f'out={out} is being written by another process.') from None
    try:
      folder = hidden / 'whole'
      shutil.rmtree(folder, ignore_errors=True)
      folder.mkdir(mode=secret_files.FOLDER)
      yield folder
      if out.exists():
        out.rmdir()
      folder.replace(out)
    finally:
      shutil.rmtree(hidden, ignore_errors=True)


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
