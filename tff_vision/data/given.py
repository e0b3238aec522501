"""Builds federated images from arrays, or from a `tff.simulation` client data set."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tff_vision import configs, values
from tff_vision.data import fingerprint, images
from tff_vision.data.sources import arrays, label_arrays, naming, numbers

Arrays = tuple[np.ndarray, np.ndarray]


def from_arrays(clients: Mapping[str, Arrays], *, test: Arrays | Mapping[str, Arrays] | None, name: str = 'arrays',
                class_names: Sequence[str] | None = None, preprocessing: images.Preprocessing | None = None,
                validation: Mapping[str, Arrays] | None = None, target: str | None = None) -> images.FederatedImages:
  """Returns the arrays of clients as federated images.

  Args:
    clients: Client id -> (x, y): x [n, height, width] or [n, height, width, channels], uint8 in 0..255 or floats in
      0..1; y [n] class numbers from 0, [n, findings] of 0 and 1, or masks [n, height, width] of class numbers, with
      255 for pixels that do not count.
    test: (x, y) that belong to no client, or client id -> (x, y), which also gives results for each client; None:
      there are no test images here, and nothing is evaluated.
    name: The name of the data set in reports.
    class_names: One name for each class or finding; by default their numbers.
    preprocessing: How stored pixels become model input; by default uint8 is scaled to 0..1.
    validation: Client id -> (x, y), by which `select_best` chooses a model; None: there are none.
    target: The name of what is measured, if y are numbers [n] for task=regression.

  Raises:
    ValueError: An array is not as described; the message names the client.
  """
  if not isinstance(clients, Mapping):
    raise ValueError(f'from_arrays takes a mapping from client to (x, y), found {type(clients).__name__}.')
  if not clients:
    raise ValueError('from_arrays needs at least one client.')
  loaded = {str(client): _examples(given, f'client {client}', target) for client, given in clients.items()}
  if test is None:
    parts = {}
  elif isinstance(test, Mapping):
    parts = {str(client): _examples(given, f'test of client {client}', target) for client, given in test.items()}
  else:
    parts = {'': _examples(test, 'test', target)}
  chosen_by = {str(client): _examples(given, f'validation of client {client}', target)
               for client, given in (validation or {}).items()}
  for what, held in (('test', parts), ('validation', chosen_by)):
    if strangers := sorted(set(held) - set(loaded) - {''}):
      raise ValueError(f'{what} has examples of {", ".join(strangers)}, which are no clients.')
  first = next(iter(loaded.values()))
  for where, examples in (*loaded.items(), *((f'test {name}'.rstrip(), part) for name, part in parts.items()),
                          *((f'validation {name}', part) for name, part in chosen_by.items())):
    if (examples.x.shape[1:], examples.x.dtype, examples.y.ndim) != (first.x.shape[1:], first.x.dtype, first.y.ndim):
      raise ValueError(f'{where} has images {list(examples.x.shape[1:])} of {examples.x.dtype} with labels of '
                       f'{examples.y.ndim} dimension(s), the first client {list(first.x.shape[1:])} of {first.x.dtype} '
                       f'with {first.y.ndim}.')
  names = (target,) if target is not None else _class_names(
      class_names, [*loaded.values(), *parts.values(), *chosen_by.values()])
  pooled = _joined(loaded.values())
  bounds = np.cumsum([0, *(len(examples) for examples in loaded.values())])
  spec = images.ImageSpec.of(first, names)
  held_out, positions, start = _joined(parts.values()) if parts else spec.no_examples(), {}, 0
  for client, part in parts.items():
    positions[client] = np.arange(start, start + len(part))
    start += len(part)
  own = [np.arange(a, b) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
  made = images.FederatedImages(
      name=name, spec=spec, train=images.ArrayClients(pooled, own, list(loaded)),
      test=images.HeldOut(examples=held_out, clients=[positions.get(client, np.zeros(0, np.int64))
                                                      for client in loaded]),
      preprocessing=preprocessing or images.Preprocessing(), counted_classes=class_names is None,
      validation=_by_client(chosen_by, list(loaded), spec) if chosen_by else None)
  digest = arrays.digest_of({'x': pooled.x, 'y': pooled.y})
  return dataclasses.replace(made, fingerprint=fingerprint.of(made, digest, own))


def from_client_data(train: Any, test: Any, *, image: str = 'pixels', label: str = 'label', name: str = 'client data',
                     class_names: Sequence[str] | None = None,
                     preprocessing: images.Preprocessing | None = None) -> images.FederatedImages:
  """Returns `tff.simulation.datasets.ClientData` as federated images; all data is read into memory once.

  Args:
    train: The training data; its `client_ids` become the clients.
    test: The test data of the same clients, or of some of them.
    image: Key of the image in an element; label: key of its label.
    name: As in `from_arrays`; the other arguments too.

  Raises:
    ValueError: An element has no such key; or as `from_arrays`.
  """
  read = lambda data: {client: _read(data.create_tf_dataset_for_client(client), image, label)
                       for client in data.client_ids}
  return from_arrays(read(train), test=read(test), name=name, class_names=class_names, preprocessing=preprocessing)


def _by_client(parts, names, spec):
  """Returns the examples of each of the clients called `names`, some of which may have none."""
  own = [parts.get(name, spec.no_examples()) for name in names]
  bounds = np.cumsum([0, *map(len, own)])
  return images.ArrayClients(_joined(own), [np.arange(a, b) for a, b in zip(bounds[:-1], bounds[1:], strict=True)],
                             names)


def _read(dataset, image, label):
  elements = list(dataset.as_numpy_iterator())
  if not elements:
    raise ValueError('a client of the client data has no example.')
  if missing := {image, label} - set(elements[0]):
    raise ValueError(f'elements of the client data lack {", ".join(sorted(missing))}; they have '
                     f'{", ".join(sorted(elements[0]))}.')
  return np.stack([element[image] for element in elements]), np.stack([element[label] for element in elements])


def _examples(given, what, target):
  if not isinstance(given, (tuple, list)) or len(given) != 2:
    raise ValueError(f'{what}: must be a pair (x, y) of images and labels, found {type(given).__name__}.')
  x, y = given
  found = np.asarray(y)
  labels = label_arrays.classes(found, f'{what}: y') if target is None else numbers.of_array(found, f'{what}: y')
  return images.Examples(arrays.pixels(np.asarray(x), f'{what}: x'), labels)


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
