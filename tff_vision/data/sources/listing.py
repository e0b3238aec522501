"""Lists image files and derives class or findings, client and split from their paths."""

import collections
import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tff_vision.data.sources import formats
from tff_vision.data.sources import store as store_lib

_TRAIN, _TEST, _VAL = 'train', 'test', 'val'
_WORDS = {**dict.fromkeys(('train', 'training', 'trn'), _TRAIN),
          **dict.fromkeys(('test', 'testing', 'tst'), _TEST),
          **dict.fromkeys(('val', 'valid', 'validation'), _VAL)}
# Words that may be added to a split's name without a change of meaning: `Training_Set`, `test images`, `train2017`.
_AROUND = {'set', 'data', 'dataset', 'images', 'imgs', 'img', 'image', 'split', 'folder', ''}
# The same words in Chinese, and a split's name and such a word written as one: `trainset`.
_CHINESE = {'训练': _TRAIN, '测试': _TEST, '验证': _VAL, '集': '', '数据': '', '图像': '', '图片': ''}
_AS_ONE = re.compile(f'({"|".join(sorted(_WORDS, key=len, reverse=True))})({"|".join(filter(None, _AROUND))})')
_LIKE_SPLIT = re.compile(r'(train|trn|test|tst|valid|val\b|eval)')
_LITTER = {'thumbs.db', 'desktop.ini', 'ehthumbs.db', 'icon\r', '__macosx', '@eadir', '$recycle.bin',
           'system volume information', 'lost+found', '#recycle'}
_HIDDEN = ('.', '~$')
SPLITS = tuple(_WORDS)
_HEAD = 352


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing:
  """[n] encoded images.

  Attributes:
    paths: Paths of the files; of images that lie in other files, empty.
    store: Where images lie that are no files of their own; None: in `paths`.
    labels: The class of each, or its findings with `separator` between them.
    clients: The client of each; None if not given.
    splits: `train`, `test` or `val`; None if not given.
    patients: The patient of each; images of one patient are not both for training and for tests. None if not given.
    separator: The text between findings; None: it is not known whether there are findings.
    numbers: The number of each file, if labels are numbers.
    masks: The mask of each image, '' if it has none; None: images have no masks.
    class_names: All classes in the order of their numbers; None: those of the labels, in the order of their names.
    classes_given: Whether `class_names` are told by the data set's description, and not collected from labels.
    notes: Sentences a user must see.
  """
  paths: Sequence[str] = ()
  store: store_lib.Store | None = None
  labels: Sequence[str]
  clients: Sequence[str | None]
  splits: Sequence[str | None]
  patients: Sequence[str | None] | None = None
  separator: str | None = None
  numbers: np.ndarray | None = None
  masks: Sequence[str] | None = None
  class_names: Sequence[str] | None = None
  classes_given: bool = False
  notes: Sequence[str] = ()

  @property
  def images(self) -> store_lib.Store:
    """Where the images are."""
    return self.store if self.store is not None else store_lib.Files(self.paths)


def split_of(name: str) -> str | None:
  """Returns `train`, `test` or `val` for a folder's name or a column's value in any case, or None if it is no split."""
  words = [word for word in _words_of(name) if word not in _AROUND]
  if len(words) != 1:
    return None
  as_one = _AS_ONE.fullmatch(words[0])
  return _WORDS.get(as_one.group(1) if as_one else words[0])


def _words_of(name):
  """Returns the words of a folder's name, in lower case; a capital letter begins a word."""
  for chinese, word in _CHINESE.items():
    name = name.replace(chinese, f' {word} ')
  return re.split(r'[^a-z]+', re.sub(r'(?<=[a-z])(?=[A-Z])', ' ', name.strip()).lower())


def _is_like_split(name):
  return any(_LIKE_SPLIT.match(word) for word in _words_of(name))


def _is_like_training(name):
  return any(word.startswith(('train', 'trn')) for word in _words_of(name))


def splits_of_files(paths: Sequence[pathlib.Path], root: pathlib.Path) -> list[str | None]:
  """Returns the split that each file's folders or name tell, as `train/0000.parquet` or `x-train-00000-of-00005.tar`.

  If all files are for training, there is no split, so that test images are held out.

  Raises:
    ValueError: Some files tell a split and others none, or none is for training.
  """
  found = []
  for path in paths:
    *folders, last = path.relative_to(root).parts
    words = {_WORDS[word] for word in re.split(r'[^a-z]+', last.partition('.')[0].lower()) if word in _WORDS}
    above = [split for split in map(split_of, folders) if split]
    found.append(above[-1] if above else words.pop() if len(words) == 1 else None)
  if None in found and set(found) != {None}:
    told, untold = (paths[found.index(next(split for split in found if (split is None) == none))]
                    for none in (False, True))
    raise ValueError(f'{told} is named like a split and {untold} is not: give every file a split, or none.')
  if set(found) & {_TEST, _VAL} and _TRAIN not in found:
    raise ValueError(f'{paths[0]} is for tests, and no file is for training: name one train.')
  return found if set(found) != {_TRAIN} else [None] * len(found)


def find_files(data_dir: str | None, suffix: str, dataset: str) -> tuple[pathlib.Path, list[pathlib.Path]]:
  """Returns the folder of the data and its files with a suffix; `data_dir` may also be such a file.

  Raises:
    ValueError: There is no such file; the message names the data set.
  """
  if data_dir is None:
    raise ValueError(f'dataset={dataset} needs data_dir, a {suffix} file or a folder with such files.')
  path = pathlib.Path(data_dir).expanduser()
  if path.is_file():
    return path.parent, [path]
  if not path.is_dir():
    raise ValueError(f'data_dir={data_dir} is no file and no folder.')
  found = with_suffix(path, suffix)
  if not found:
    raise ValueError(f'data_dir={data_dir} holds no {suffix} file.')
  return path, found


def with_suffix(root: pathlib.Path, suffix: str) -> list[pathlib.Path]:
  """Returns the files below a folder whose names end so, in upper or lower case; hidden ones are left out."""
  return sorted(path for path in root.rglob('*') if path.name.lower().endswith(suffix) and path.is_file()
                and not any(map(is_litter, path.relative_to(root).parts)))


def from_folders(root: pathlib.Path) -> Listing:
  """Lists the images below `root`, which are in [split/]class/ or [split/]client/class/.

  Links to files and folders are followed, except a link that leads back to a folder above it. Hidden files and files
  that desktops and notebooks create are left out.

  Raises:
    ValueError: There are no images, or their folders do not follow one single layout.
  """
  ignored, others = collections.Counter(), collections.Counter()
  paths = list(_images(str(root), (), ignored, others))
  unread = {kind: sum(n for suffix, n in others.items() if formats.unread_suffix('x' + suffix) == kind)
            for kind in {formats.unread_suffix('x' + suffix) for suffix in others} - {''}}
  counted = ', '.join(f'{number} {kind}' for kind, number in sorted(unread.items()))
  if not paths:
    also = f' It holds {counted} files, a format that is not read.' if unread else ''
    raise ValueError(f'{root} holds no {", ".join(formats.SUFFIXES)} file.{also}')
  places = [store_lib.below(path, str(root)).split(os.sep)[:-1] for path in paths]
  _refuse_no_text({name for place in places for name in place})
  splits, rest = _splits(places, paths)
  depths = collections.Counter(map(len, rest))
  depth = depths.most_common(1)[0][0]
  if len(depths) > 1 or depth not in (1, 2):
    odd = next(path for path, place in zip(paths, rest, strict=True) if depth not in (1, 2) or len(place) != depth)
    raise ValueError(f'{odd} does not lie as the others do: images must lie in [split/]class/ or all in '
                     '[split/]client/class/ below data_dir.')
  notes = []
  if unread:
    notes.append(f'Images of formats that are not read left out: {counted}.')
  if plain := {suffix: n for suffix, n in others.items() if not formats.unread_suffix('x' + suffix)}:
    notes.append(f'{sum(plain.values())} files that are no images left out ({", ".join(sorted(plain))}).')
  if ignored:
    notes.append(f'{sum(ignored.values())} hidden or system files and folders left out ({", ".join(sorted(ignored))}).')
  return Listing(paths=paths, labels=[place[-1] for place in rest],
                 clients=[place[0] if depth == 2 else None for place in rest], splits=splits, notes=notes)


def _refuse_no_text(folders):
  """Refuses names of folders that are no UTF-8, since they become names of classes and clients.

  Raises:
    ValueError: There is one.
  """
  for name in sorted(folders):
    try:
      name.encode('utf-8')
    except UnicodeEncodeError:
      raise ValueError(f'the folder {os.fsencode(name)!r} has a name that is no UTF-8, so that it cannot name a class '
                       'or a client: rename it.') from None


def is_litter(name: str) -> bool:
  """Returns whether a file or a folder is hidden, or was created by a desktop program."""
  return name.startswith(_HIDDEN) or name.lower() in _LITTER


def _images(folder, above, ignored, others) -> Iterator[str]:
  """Yields the image files below `folder`, in order; `above` are the folders above it."""
  real = os.path.realpath(folder)
  if real in above:
    return
  with os.scandir(folder) as entries:
    entries = sorted(entries, key=lambda entry: entry.name)
  kinds = [_kind(entry) for entry in entries]
  for entry, kind in zip(entries, kinds, strict=True):
    if is_litter(entry.name) and (kind == 'folder' or entry.name.startswith(_HIDDEN)):
      ignored['._*' if entry.name.startswith('._') else entry.name] += 1
    elif kind == 'file' and (formats.is_image_name(entry.name) or _is_nameless_dicom(entry)):
      yield entry.path
    elif kind != 'folder':
      others[_suffix(entry.name) if kind == 'file' else 'pipe or device'] += 1
  for entry, kind in zip(entries, kinds, strict=True):
    if kind == 'folder' and not is_litter(entry.name):
      yield from _images(entry.path, (*above, real), ignored, others)


def _kind(entry):
  """Returns what an entry of a folder is: `folder`, `file` (a link that leads nowhere too), or `pipe` or device."""
  try:
    if entry.is_dir():
      return 'folder'
    return 'file' if entry.is_file() or entry.is_symlink() and not os.path.exists(entry.path) else 'pipe'
  except OSError:  # A link that leads to itself: it is named when it is read.
    return 'file'


def _is_nameless_dicom(entry):
  """Whether a file is DICOM without saying so in its name, as archives of hospitals write them."""
  suffix = os.path.splitext(entry.name)[1]
  if suffix and not suffix[1:].isdigit() or entry.name.upper() == 'DICOMDIR':
    return False
  try:
    with open(entry.path, 'rb') as file:
      return formats.kind_of(file.read(_HEAD)) == 'DICOM'
  except OSError:
    return False


def _suffix(name):
  return '.nii.gz' if name.lower().endswith('.nii.gz') else os.path.splitext(name)[1].lower() or name


def _splits(places: Sequence[Sequence[str]], paths: Sequence[str]) -> tuple[list[str | None], list[Sequence[str]]]:
  """Returns the split of each image, and its folders without the one that names the split.

  This folder may be at any level, but must be at the same level for all images.
  """
  for level in range(min(map(len, places))):
    names = {place[level] for place in places}
    found = {name: split_of(name) for name in names}
    known = {split for split in found.values() if split}
    if None not in found.values() and _TRAIN in known:
      return [found[place[level]] for place in places], [[*place[:level], *place[level + 1:]] for place in places]
    above_images = {place[level] for place in places if len(place) == level + 1}
    if known and _is_mixed(found, known, above_images):
      splits = sorted(name for name, split in found.items() if split)
      raise ValueError(_refusal(splits, sorted(names - set(splits)), os.path.dirname(paths[0])))
    if all(map(_is_like_split, names)) and len(set(map(_is_like_training, names))) == 2:
      listed = ' and '.join(sorted(names)[:6])
      raise ValueError(f'folders are named {listed}, like training and test images, and would count as one set: name '
                       f'them train and test, or give them names that are no splits\'; one of them is '
                       f'{os.path.dirname(paths[0])}.')
  return [None] * len(places), list(places)


def _is_mixed(found: Mapping[str, str | None], known: set[str], above_images: set[str]) -> bool:
  """Whether some folders of a level are named like splits but the level as a whole does not hold splits."""
  deeper = any(split and name not in above_images for name, split in found.items())
  return deeper or (_TRAIN in known and len(known) > 1)


def _refusal(splits, others, example):
  if others:
    listed = ', '.join(others[:6]) + (', …' if len(others) > 6 else '')
    return (f'folders are named {" and ".join(splits)}, like splits, and beside them lie {listed}: give every image a '
            f'split, or the folders other names; one of them is {example}.')
  return (f'folders are named {" and ".join(splits)}, like splits, and none is for training: name one train; one of '
          f'them is {example}.')
