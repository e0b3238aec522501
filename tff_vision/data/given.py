"""Builds federated images from arrays, or from a `tff.simulation` client data set."""

import collections
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tff_vision import configs, values
from tff_vision.data import fingerprint, images, pixel_ranges
from tff_vision.data.sources import arrays, label_arrays, naming, numbers

Arrays = tuple[np.ndarray, np.ndarray]


def from_arrays(clients: Mapping[str, Arrays], *, test: Arrays | Mapping[str, Arrays] | None, name: str = 'arrays',
                class_names: Sequence[str] | None = None, preprocessing: images.Preprocessing | None = None,
                validation: Mapping[str, Arrays] | None = None, target: str | None = None,
                pixel_range: tuple[float, float] | None = None) -> images.FederatedImages:
  """Returns the arrays of clients as federated images.

  Args:
    clients: Client id -> (x, y): x [n, height, width] or [n, height, width, channels], uint8 in 0..255 or floats; y [n]
      class numbers from 0, [n, findings] of 0 and 1, or masks [n, height, width] of class numbers, with 255 for pixels
      that do not count. Floats that span 0..1, -1..1 or -0.5..0.5 tell what is black and white of image files; of
      others nothing does, and the exported model takes no files. Of whole numbers that are 0 and 1 only, 1 is white.
    test: (x, y) that belong to no client, or client id -> (x, y), which also gives results for each client; None:
      there are no test images here, and nothing is evaluated.
    name: The name of the data set in reports.
    class_names: One name for each class or finding; by default their numbers.
    preprocessing: How stored pixels become model input; by default uint8 is scaled to 0..1.
    validation: Client id -> (x, y), by which `select_best` chooses a model; None: there are none.
    target: The name of what is measured, if y are numbers [n] for task=regression.
    pixel_range: The values of x that are black and white; None: what type and values tell. Differential privacy covers
      no values of clients: there it is needed, unless test images alone tell the same. Whole numbers are brought to
      0..1 by it.

  Raises:
    ValueError: An array is not as described; the message names the client.
  """
  if not isinstance(clients, Mapping):
    raise ValueError(f'from_arrays takes a mapping from client to (x, y), found {type(clients).__name__}.')
  if not clients:
    raise ValueError('from_arrays needs at least one client.')
  if preprocessing is not None and not isinstance(preprocessing, images.Preprocessing):
    raise ValueError(f'preprocessing must be a tff_vision.data.Preprocessing, found {preprocessing!r}.')
  if isinstance(class_names, str):
    raise ValueError(f'class_names must be a list of names, found the text {class_names!r}.')
  if pixel_range is not None:
    pixel_range = _black_and_white(pixel_range)
  tested = {} if test is None else test if isinstance(test, Mapping) else {'': test}
  for what, given in (('client', clients), ('test', tested), ('validation', validation or {})):
    _check_names(what, given)
  pairs = [{f'{what} {client}'.removesuffix(' of client '): (str(client), pair) for client, pair in given.items()}
           for what, given in (('client', clients), ('test of client', tested),
                               ('validation of client', validation or {}))]
  examples, stored, notes = _examples({where: pair for part in pairs for where, (_, pair) in part.items()}, target,
                                     pixel_range)
  loaded, parts, chosen_by = ({client: examples[where] for where, (client, _) in part.items()} for part in pairs)
  for what, held in (('test', parts), ('validation', chosen_by)):
    if strangers := sorted(set(held) - set(loaded) - {''}):
      raise ValueError(f'{what} has examples of {", ".join(strangers)}, which are no clients.')
  first = next(iter(loaded.values()))
  for where, part in (*loaded.items(), *((f'test {name}'.rstrip(), part) for name, part in parts.items()),
                          *((f'validation {name}', part) for name, part in chosen_by.items())):
    if part.y.ndim != first.y.ndim:
      raise ValueError(f'{where} has labels of {part.y.ndim} dimension(s), the first client of {first.y.ndim}.')
  names = (target,) if target is not None else _class_names(
      class_names, [*loaded.values(), *parts.values(), *chosen_by.values()])
  pooled = _joined(loaded.values())
  bounds = np.cumsum([0, *(len(examples) for examples in loaded.values())])
  spec = images.ImageSpec.of(first, names, stored=stored)
  held_out, positions, start = _joined(parts.values()) if parts else spec.no_examples(), {}, 0
  for client, part in parts.items():
    positions[client] = np.arange(start, start + len(part))
    start += len(part)
  own = [np.arange(a, b) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
  made = images.FederatedImages(
      name=name, spec=spec, train=images.ArrayClients(pooled, own, list(loaded)),
      test=images.HeldOut(examples=held_out, clients=[positions.get(client, np.zeros(0, np.int64))
                                                      for client in loaded]),
      preprocessing=preprocessing or images.Preprocessing(), counted_classes=class_names is None, notes=notes,
      validation=_by_client(chosen_by, list(loaded), spec) if chosen_by else None)
  digest = arrays.digest_of({'x': pooled.x, 'y': pooled.y})
  return dataclasses.replace(made, fingerprint=fingerprint.of(made, digest, own))


def from_client_data(train: Any, test: Any, *, image: str = 'pixels', label: str = 'label', name: str = 'client data',
                     class_names: Sequence[str] | None = None, preprocessing: images.Preprocessing | None = None,
                     pixel_range: tuple[float, float] | None = None) -> images.FederatedImages:
  """Returns `tff.simulation.datasets.ClientData` as federated images; all data is read into memory once.

  Args:
    train: The training data; its `client_ids` become the clients.
    test: The test data of the same clients, or of some of them.
    image: Key of the image in an element; label: key of its label.
    name: As in `from_arrays`; the other arguments too.

  Raises:
    ValueError: An element has no such key; or as `from_arrays`.
  """
  for what, data in (('train', train), ('test', test)):
    if not hasattr(data, 'client_ids') or not hasattr(data, 'create_tf_dataset_for_client'):
      raise ValueError(f'{what} must be a tff.simulation.datasets.ClientData, found {type(data).__name__}.')
  read = lambda data: {client: _read(data.create_tf_dataset_for_client(client), image, label, client)
                       for client in data.client_ids}
  return from_arrays(read(train), test=read(test), name=name, class_names=class_names, preprocessing=preprocessing,
                     pixel_range=pixel_range)


def _by_client(parts, names, spec):
  """Returns the examples of each of the clients called `names`, some of which may have none."""
  own = [parts.get(name, spec.no_examples()) for name in names]
  bounds = np.cumsum([0, *map(len, own)])
  return images.ArrayClients(_joined(own), [np.arange(a, b) for a, b in zip(bounds[:-1], bounds[1:], strict=True)],
                             names)


def _black_and_white(pixel_range):
  """Returns the values of black and white as floats.

  Raises:
    ValueError: They are not two numbers, of which the second is larger.
  """
  try:
    black, white = map(float, pixel_range)
  except (TypeError, ValueError):
    black = white = math.nan
  if not (math.isfinite(black) and math.isfinite(white) and black < white):
    raise ValueError(f'pixel_range must be (BLACK, WHITE), two numbers of which the second is larger; found '
                     f'{pixel_range!r}.')
  return black, white


def _check_names(what, given):
  """Refuses keys that are the same as text, because one client would take the place of another."""
  name, number = collections.Counter(map(str, given)).most_common(1)[0] if given else ('', 0)
  if number > 1:
    raise ValueError(f'{what} has {number} keys that are {name!r} as text: give each client a name of its own.')
  for name in map(str, given):
    if name != name.encode(errors='replace').decode():
      raise ValueError(f'{what} {name!r} has a character in its name that no file can hold: give it another name.')


def _read(dataset, image, label, client):
  spec = dataset.element_spec
  if not isinstance(spec, Mapping):
    raise ValueError(f'elements of the client data must be mappings with {image} and {label}, found '
                     f'{type(spec).__name__}.')
  if missing := {image, label} - set(spec):
    raise ValueError(f'elements of the client data lack {", ".join(sorted(missing))}; they have '
                     f'{", ".join(sorted(spec))}.')
  elements = list(dataset.as_numpy_iterator())
  return tuple(_stacked([element[name] for element in elements], spec[name], f'{name} of client {client}')
               for name in (image, label))


def _stacked(parts, spec, what):
  """Returns values as one array; without any, as an empty one of their spec."""
  if not parts:
    if not spec.shape.is_fully_defined():
      raise ValueError(f'{what} of the client data has no example, and its shape is not known, {spec.shape}.')
    return np.zeros((0, *spec.shape), spec.dtype.as_numpy_dtype)
  if len(shapes := {np.shape(part) for part in parts}) > 1:
    found = ', '.join(str(list(shape)) for shape in sorted(shapes)[:3])
    raise ValueError(f'{what} of the client data has several shapes, {found}: an element must be one image with its '
                     'label, all of one size, without batches.')
  return np.stack(parts)


def _examples(given, target, pixel_range):
  """Returns the examples of each part, the values of black and white that all of them have, and notes.

  Args:
    given: Where it stands, for messages -> (x, y).
    target: As of `from_arrays`.
    pixel_range: (black, white), or None.
  """
  x, y = {}, {}
  for what, pair in given.items():
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
      raise ValueError(f'{what}: must be a pair (x, y) of images and labels, found {type(pair).__name__}.')
    x[what], labels = arrays.shaped(np.asarray(pair[0]), f'{what}: x'), np.asarray(pair[1])
    y[what] = label_arrays.classes(labels, f'{what}: y') if target is None else numbers.of_array(labels, f'{what}: y')
    if len(x[what]) != len(y[what]):
      raise ValueError(f'{what} has {len(x[what])} images and {len(y[what])} labels.')
  first, one = next(iter(x.items()))
  for what, other in x.items():
    if other.shape[1:] != one.shape[1:] or arrays.kind_of(other) != arrays.kind_of(one):
      raise ValueError(f'{what} has images {list(other.shape[1:])} of {other.dtype}, {first} {list(one.shape[1:])} of '
                       f'{one.dtype}.')
  # The range of values is that of all parts: the pixels of one client may be black by chance.
  largest = max(x, key=lambda what: max(float(x[what].max(initial=0)), -float(x[what].min(initial=0))))
  (whole,), stored, notes = arrays.as_images({f'{largest}: x': np.concatenate(list(x.values()))}, '',
                                            pixel_range)
  owners = [what for what, part in x.items() for _ in range(len(part))]
  if pixel_range is None and (told := pixel_ranges.difference(whole, owners)):
    notes.append(f'{told[:1].upper()}{told[1:]}: if they are not of one range, bring them to one.')
  pieces = np.split(whole, np.cumsum([len(part) for part in x.values()])[:-1])
  return ({what: images.Examples(piece, y[what]) for what, piece in zip(x, pieces, strict=True)}, stored,
          tuple(map(images.Counted, notes)))


def _class_names(given, parts):
  y = np.concatenate([part.y for part in parts])
  number = label_arrays.num_classes([y])
  if given is None:
    return tuple(map(str, range(number)))
  if len(given) < number:
    raise ValueError(f'class_names has {len(given)} names, the labels have {number} classes.')
  names = tuple(map(str, given))
  if (twice := naming.twice(names)) is not None:
    raise ValueError(f'class_names holds {twice!r} twice: give each class a name of its own.')
  return names


def _joined(parts):
  return images.Examples(np.concatenate([part.x for part in parts]), np.concatenate([part.y for part in parts]))


def load(dataset: str, *, partition: values.Partition | None = None, data_dir: str | None = None, seed: int = 0
         ) -> images.FederatedImages:
  """Returns a built-in data set, partitioned into clients.

  Args:
    dataset: A name that `python -m pipelines.doctor` lists.
    partition: From `Dirichlet`, `Iid`, `Shards` or `Natural`; None: the default, Dirichlet(1.0).
    data_dir: Folder of the files; None: the source's own default folders.
    seed: Seed of the partition. An experiment with the same seed is then the same as one that is made from flags.

  Raises:
    ValueError: There is no such data set, or it is not on this machine.
  """
  from tff_vision.data import build  # Imported late: importing the sources takes a moment.
  if not isinstance(partition, values.Partition | None):
    raise ValueError(f'partition must be made by Dirichlet, Iid, Shards or Natural, found {partition!r}.')
  fields = dict(partition.fields) if partition is not None else {}
  config = configs.DataConfig(dataset=dataset, data_dir=data_dir, **fields)
  return build.build(config, seed=seed).loaded_by(images.Origin(config=config, seed=seed))
