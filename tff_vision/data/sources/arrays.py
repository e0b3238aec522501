"""Reads an .npz file with x, y and, if the data has clients, client.

    x        [n, height, width] or [n, height, width, channels]; whole numbers in 0..255, 0 and 1, or floats
    y        [n] class numbers or names, or [n, findings] of 0 and 1
    client   [n] names or numbers, optional
    x_test, y_test, client_test   likewise, optional; without them a share of every class is held out
    class_names                   optional

Keras's names x_train and y_train are accepted too.
"""

import dataclasses
import hashlib
import pathlib
import zipfile
from collections.abc import Collection, Mapping

import numpy as np

from tff_vision import configs
from tff_vision import labels as labels_lib
from tff_vision.data import images, pixel_ranges
from tff_vision.data.sources import heldout, label_arrays, label_values, naming, pool
from tff_vision.data.sources import numbers as numbers_lib

_LARGEST_FLOAT = 30.0
_NEARLY_BLACK = 31
_READ = ('x', 'y', 'client', 'x_test', 'y_test', 'client_test', 'class_names')


def load(config: configs.DataConfig) -> pool.Pool:
  """Reads the .npz file that `config.data_dir` names or contains.

  Raises:
    ValueError: The file is missing or corrupt, or an array is not as required; the message names the array.
  """
  path = find(config.data_dir)
  if path is None:
    raise ValueError(f'dataset=npz needs data_dir, an .npz file or a folder with one; found {config.data_dir!r}.')
  found = read(path)
  names = {name.removesuffix('_train') if name.endswith('_train') else name for name in found}
  found = {name.removesuffix('_train'): array for name, array in found.items()}
  if config.target is not None:
    found, names = _with_target(found, names, config.target)
  if missing := {'x', 'y'} - names:
    raise ValueError(f'{path} lacks the array {" and ".join(sorted(missing))}; it holds {", ".join(sorted(names))}.')
  _normalize_names(found, path)
  y, y_test, class_names, notes = label_arrays.of_file(found, path, config)
  parts = {name: found[name] for name in ('x', 'x_test') if name in found}
  if empty := [name for name, part in parts.items() if not part.size]:
    raise ValueError(f'{path}: {empty[0]} holds no example.')
  (x, *tested), stored, pixel_notes = as_images(parts, str(path), config.numeric_pixel_range)
  owners = found.get('client')
  _same_length(path, {'x': x, 'y': y, 'client': owners})
  if owners is not None:
    pixel_ranges.refuse(x, [f'client {owner}' for owner in owners], config.numeric_pixel_range, str(path))
  digest = digest_of({name: array for name, array in found.items() if name in _READ})
  notes = [images.Counted(note) for note in (*notes, *pixel_notes)]
  if unread := names - set(_READ):
    notes.append(f'Arrays of {path} that are not read: {", ".join(sorted(unread))}.')
  if y_test is not None:
    notes += heldout.unread(config)
    [x_test] = tested
    test_owners = found.get('client_test')
    _same_length(path, {'x_test': x_test, 'y_test': y_test, 'client_test': test_owners})
    return pool.Pool(train=images.Examples(x, y), test=images.Examples(x_test, y_test), class_names=class_names,
                     train_owners=owners, test_owners=test_owners, stored=stored, digest=digest, notes=tuple(notes),
                     counted_classes='class_names' not in found)
  return dataclasses.replace(_with_held_out(images.Examples(x, y), owners, class_names, config, notes), stored=stored,
                             digest=digest, counted_classes='class_names' not in found)


def _with_target(found, names, target):
  """Returns the arrays with that of the target, and its test array, as `y` and `y_test`; other labels are left out."""
  if target == 'y':
    return found, names
  kept = {name: array for name, array in found.items() if name not in ('y', 'y_test')}
  renamed = {target: 'y', f'{target}_test': 'y_test'}
  if target not in names:
    raise ValueError(f'the .npz lacks the array {target}, which target names; it holds {", ".join(sorted(names))}.')
  kept = {renamed.get(name, name): array for name, array in kept.items()}
  return kept, set(kept)


def locate(data_dir: str | None) -> tuple[bool, str]:
  """Returns whether `data_dir` is or contains an .npz file."""
  path = find(data_dir)
  return (True, str(path)) if path else (False, 'your own arrays: --dataset=npz --data_dir=FILE.npz')


def find(data_dir: str | None) -> pathlib.Path | None:
  """Returns the .npz file that `data_dir` is, or the only one that it contains, or None."""
  if data_dir is None:
    return None
  path = pathlib.Path(data_dir).expanduser()
  if path.is_file():
    return path
  inside = list(path.glob('*.npz'))
  return inside[0] if len(inside) == 1 else None


def read(path: pathlib.Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
  """Returns the arrays of an .npz file, or only those in `names` that it contains; pickled objects are refused.

  Raises:
    ValueError: The file is corrupt or truncated, or contains objects.
  """
  try:
    opened = np.load(path, allow_pickle=False)
    if isinstance(opened, np.ndarray):
      raise ValueError('it holds a single array without a name, as .npy does')
    with opened as found:
      return {name: found[name] for name in found if names is None or name in names}
  except (OSError, EOFError, ValueError, AttributeError, zipfile.BadZipFile) as error:
    raise ValueError(f'{path} cannot be read as an .npz of plain arrays ({error}).') from error


def digest_of(arrays: Mapping[str, np.ndarray]) -> str:
  """Returns a digest that changes when one of the named arrays changes."""
  digest = hashlib.blake2b(digest_size=32)
  for name, array in sorted(arrays.items()):
    digest.update(f'{name}{array.dtype.str}{array.shape}'.encode())
    digest.update(array.tobytes())
  return digest.hexdigest()


def pixels(x: np.ndarray, what: str) -> np.ndarray:
  """Returns images in the form that `images.Examples` requires: `as_images` for one array."""
  return as_images({what: x}, '', None)[0][0]


def as_images(parts: Mapping[str, np.ndarray], where: str, pixel_range: tuple[float, float] | None
              ) -> tuple[list[np.ndarray], images.StoredPixels, list[str]]:
  """Returns the arrays in the form that `images.Examples` requires, their values of black and white, and notes.

  Args:
    parts: Arrays by name, [n, height, width] or [n, height, width, 1 or 3], of any integer or float type; all have
      the same range of values.
    where: The file that they come from, for error messages.
    pixel_range: The values of black and white, if the user has given them.

  Raises:
    ValueError: Shape or range cannot be that of images, or the value of white cannot be determined.
  """
  arrays = [shaped(x, f'{where}: {name}' if where else name) for name, x in parts.items()]
  kinds = {kind_of(x) for x in arrays}
  if len(kinds) > 1:
    types = ' and '.join(f'{name} is {x.dtype}' for name, x in parts.items())
    raise ValueError(f'{where}: {types}: both must be whole numbers, both bool, or both floats.')
  what = f'{where}: {next(iter(parts))}' if where else next(iter(parts))
  low, high = (float(reduce([reduce(x) for x in arrays if x.size] or [0])) for reduce in (np.min, np.max))
  if kinds == {'bool'} and pixel_range is None:  # The type tells it, and not the values.
    pixel_range = (0.0, 1.0)
  return (_floats if kinds == {'floats'} else _whole_numbers)(arrays, low, high, pixel_range, what)


def kind_of(x: np.ndarray) -> str:
  """Returns what kind of numbers an array holds, in a word or two; arrays of different kinds have different whites."""
  return {'b': 'bool', 'f': 'floats'}.get(x.dtype.kind, 'whole numbers')


def shaped(x: np.ndarray, what: str) -> np.ndarray:
  """Returns images as [n, height, width, 1 or 3] of finite numbers.

  Raises:
    ValueError: They are none.
  """
  if x.ndim == 3:
    x = x[..., np.newaxis]
  if x.ndim != 4 or x.shape[-1] not in (1, 3):
    hint = '; channels must come last' if x.ndim == 4 and x.shape[1] in (1, 3) else ''
    raise ValueError(f'{what} must be [n, height, width] or [n, height, width, 1 or 3], found {list(x.shape)}{hint}.')
  if x.dtype.kind not in 'iubf' or not np.isfinite(x).all():
    raise ValueError(f'{what} must be finite numbers, found {x.dtype}'
                     f'{" with NaN or infinity" * (x.dtype.kind == "f")}.')
  return x


def _whole_numbers(arrays, low, high, pixel_range, what):
  notes = []
  deduced = pixel_ranges.ends_of_whole(high) if pixel_range is None and low >= 0 else None
  if deduced == (0.0, 1.0):
    pixel_range = deduced
    notes.append(f'{what} holds 0 and 1 only: 1 counts as white. If 255 is, say pixel_range=0,255.')
  stored = images.StoredPixels(deduced=deduced)
  if pixel_range == (0.0, 1.0) and low >= 0 and high <= 1:
    return [x.astype(np.uint8) * 255 for x in arrays], stored, notes
  if pixel_range not in (None, (0.0, 255.0)):
    return _brought_to_unit(arrays, pixel_range, what)
  if low < 0 or high > 255:
    raise ValueError(f'{what} holds whole numbers in {low:g}..{high:g}; pixels are 0..255. Say which values are black '
                     'and white with pixel_range=BLACK,WHITE.')
  if 1 < high <= _NEARLY_BLACK and pixel_range is None:
    said = f'{what} holds whole numbers in {low:g}..{high:g}, which of 0..255 are nearly black'
    advice = f': say pixel_range=0,{high:g} if the largest is white, and pixel_range=0,255 if 255 is.'
    if any(x.dtype != np.uint8 for x in arrays):  # For uint8 it is clear that 255 is white.
      raise ValueError(said + advice)
    notes.append(said + advice)
  return [x.astype(np.uint8, copy=False) for x in arrays], stored, notes


def _floats(arrays, low, high, pixel_range, what):
  largest = max(-low, high)
  if largest > _LARGEST_FLOAT:
    if pixel_range is not None:
      return _brought_to_unit(arrays, pixel_range, what)
    raise ValueError(f'{what} holds floats up to {largest:g}: store 0..255 as uint8, or floats divided by 255; or say '
                     'which values are black and white with pixel_range=BLACK,WHITE.')
  notes = []
  known = [pixel_ranges.ends_of(x.min(), x.max()) for x in arrays if x.size]
  if pixel_range is None and len(set(known) - {(None, None)}) > 1:
    told = ' and '.join(f'{x.min():.4g}..{x.max():.4g}' for x in arrays)
    raise ValueError(f'{what} and its test images hold floats of different ranges, {told}: bring them to one, or say '
                     'which values are black and white with pixel_range=BLACK,WHITE.')
  deduced = pixel_ranges.ends_of(low, high) if pixel_range is None else None
  black, white = pixel_range or deduced
  if deduced == (None, None):
    notes.append(f'{what} holds floats in {low:.4g}..{high:.4g}, which the model gets as they are. Nothing tells '
                 'which value is black and which white, so that the model will take no image files; '
                 'pixel_range=BLACK,WHITE says it.')
  elif deduced is not None and black != 0:
    notes.append(f'{what} holds floats in {low:.4g}..{high:.4g}: {black:g} counts as black and {white:g} as white '
                 'when the model is given image files; pixel_range=BLACK,WHITE says otherwise.')
  stored = images.StoredPixels(black=black, white=white, deduced=deduced)
  return [x.astype(np.float32, copy=False) for x in arrays], stored, notes


def _brought_to_unit(arrays, pixel_range, what):
  black, white = pixel_range
  scaled = [np.clip((x.astype(np.float32) - np.float32(black)) / np.float32(white - black), 0, 1) for x in arrays]
  stored = images.StoredPixels(white=1.0, window=pixel_range, eight_bit=None) if white > 255 else images.StoredPixels(
      white=1.0)
  return scaled, stored, [f'Values {black:g}..{white:g} of {what} become 0..1 (pixel_range).']


def _normalize_names(found, path):
  """Converts names of clients and classes to strings without spaces around them."""
  kinds = {found[name].dtype.kind for name in ('client', 'client_test') if name in found}
  if 'f' in kinds and kinds & set('iu'):  # One of them went through a table that writes 1 as 1.0.
    for name in ('client', 'client_test'):
      if found[name].dtype.kind == 'f' and (found[name] == np.floor(found[name])).all():
        found[name] = found[name].astype(np.int64)
  for name in ('client', 'client_test', 'class_names'):
    if name in found:
      if found[name].ndim != 1:
        raise ValueError(f'{path}: {name} must be [n], found {list(found[name].shape)}.')
      texts = [_client_or_class(value, f'{path}: {name}') for value in found[name].tolist()]
      found[name] = np.array(naming.cleaned(texts, name)[0], str)
      naming.refuse_empty(found[name], f'{path}: {name}')
  names = found.get('class_names', np.array([])).tolist()
  if (twice := naming.twice(names)) is not None:
    raise ValueError(f'{path}: class_names holds {twice!r} twice: give each class a name of its own.')


def _client_or_class(value, what):
  """Returns the text of a name in an array, '' for NaN."""
  return str(value) if isinstance(value, float) and value == value else label_values.client(value, what) or ''


def _with_held_out(everything, owners, class_names, config, notes):
  y = everything.y
  if everything.labels is labels_lib.Kind.MASK:
    y = labels_lib.rarest(labels_lib.tags(y, len(class_names)))
  hold = numbers_lib.held_out if everything.labels is labels_lib.Kind.NUMBER else heldout.stratified
  is_test = hold(y.sum(axis=1) if y.ndim == 2 else y, config.test_fraction, owners)
  heldout.refuse_nothing(is_test, config)
  notes.append(images.Counted(heldout.note(is_test, config.test_fraction, owners)))
  train, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
  return pool.Pool(train=everything.take(train), test=everything.take(test), class_names=class_names,
                   train_owners=None if owners is None else owners[train],
                   test_owners=None if owners is None else owners[test], notes=tuple(notes))


def _same_length(path, arrays):
  lengths = {name: len(array) for name, array in arrays.items() if array is not None}
  if len(set(lengths.values())) > 1:
    raise ValueError(f'{path}: lengths differ: ' + ', '.join(f'{name} {n}' for name, n in lengths.items()) + '.')
