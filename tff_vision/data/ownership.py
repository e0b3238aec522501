"""Assigns examples to training clients, held-out clients and test sets before any image is read."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tff_vision import configs, seeds
from tff_vision.data import images, partition
from tff_vision.data import pieces as pieces_lib
from tff_vision.data.partition import natural as natural_partition
from tff_vision.data.partition.client_shift import SHIFTS
from tff_vision.data.partition.imaging_device import Device
from tff_vision.data.sources import pool

_PARTITIONED_CLIENTS = 20
_NAMED_DEVICES = 12  # A note names the devices of so many clients.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Owner:
  """One client's examples, as positions in the pool.

  Attributes:
    train: Training examples that the client trains on.
    kept_back: Training examples that the client is tested on; all its training examples, if it never trains.
    test: Test examples.
    validation: Examples of the source's validation set.
    kept_for_validation: Training examples that the client keeps for validation.
    device: How the client's images differ from those in the pool.
  """
  name: str
  train: np.ndarray
  test: np.ndarray
  kept_back: np.ndarray
  validation: np.ndarray
  kept_for_validation: np.ndarray
  device: Device | None = None


class Owners(Sequence[Owner]):
  """Clients, in an array for each attribute of `Owner`; an `Owner` is made when it is read.

  Attributes:
    names: The clients' names.
    pieces: For each attribute of `Owner` that is positions, those of all clients.
    devices: The clients' devices, `Device` or None; None: images are as they are in the pool.
  """

  def __init__(self, names: pieces_lib.Names, pieces: dict[str, pieces_lib.Pieces],
               devices: pieces_lib.Made | None = None):
    """Args: of attributes that are not among `pieces`, the clients have none."""
    self.names = names
    nothing = pieces_lib.Pieces.nothing(len(names))
    self.pieces = {name: nothing for name in _POSITIONS} | pieces
    self.devices = devices

  def __len__(self) -> int:
    return len(self.names)

  def __getitem__(self, client: Any) -> Any:
    if not -len(self) <= client < len(self):
      raise IndexError(client)
    return Owner(name=self.names[client], device=None if self.devices is None else self.devices[client],
                 **{name: own[client] for name, own in self.pieces.items()})

  def replaced(self, pieces: dict[str, pieces_lib.Pieces], devices: pieces_lib.Made | None = None) -> 'Owners':
    """Returns the same clients with other positions, and with other devices if these are given."""
    return Owners(self.names, self.pieces | pieces, self.devices if devices is None else devices)

  def take(self, clients: np.ndarray) -> 'Owners':
    """Returns some of the clients, in the order of `clients`."""
    return Owners(pieces_lib.Names(self.names.array[clients]),
                  {name: own.take(clients) for name, own in self.pieces.items()},
                  None if self.devices is None else self.devices.take(clients))

  def followed_by(self, others: 'Owners') -> 'Owners':
    """Returns these clients, then `others`; neither has devices."""
    return Owners(self.names.followed_by(others.names),
                  {name: own.followed_by(others.pieces[name]) for name, own in self.pieces.items()})


_POSITIONS = ('train', 'test', 'kept_back', 'validation', 'kept_for_validation')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ownership:
  """All clients.

  Attributes:
    trainers: Clients that train and are tested.
    unseen: Held-out clients, which are only tested.
    common: Test examples that belong to no client.
    notes: Sentences a user must see.
  """
  trainers: Owners
  unseen: Owners
  common: np.ndarray
  notes: Sequence[str]


def natural(source: pool.Pool, config: configs.DataConfig, *, seed: int) -> Ownership:
  """Keeps the source's own clients; clients that only have test examples are unseen.

  Raises:
    ValueError: The source has no clients, or fewer than were asked for.
  """
  if source.train_owners is None:
    raise ValueError(f'partition=natural needs a source with clients of its own; dataset={config.dataset} has none. '
                     'Choose partition=iid or dirichlet.')
  names, train = natural_partition.by_owner(source.train_owners)
  test_names, test = (names[:0], pieces_lib.Pieces.nothing(0)) if source.test_owners is None else (
      natural_partition.by_owner(source.test_owners))
  common = np.arange(len(source.test)) if source.test_owners is None else np.zeros(0, np.int64)
  known = test_names[:0] if source.strangers else test_names
  clients = Owners(pieces_lib.Names(names), {'train': train, 'test': test.take(_places(names, known))})
  if source.validation_owners is not None:
    found, owned = natural_partition.by_owner(source.validation_owners)
    clients = clients.replaced({'validation': owned.take(_places(names, found))})
  others = np.flatnonzero(_places(test_names, names[:0] if source.strangers else names) < 0)
  strangers = Owners(pieces_lib.Names(test_names[others]), {'test': test.take(others)})
  number = source.unseen_clients if config.held_out_clients is None else config.held_out_clients
  wanted = len(clients) - number if config.num_clients is None else config.num_clients
  if wanted < 1 and config.num_clients is None:
    raise ValueError(f'held_out_clients={number} leaves nobody to train of the {len(clients)} clients of '
                     f'dataset={config.dataset}.')
  if wanted + number > len(clients):
    also = f' and held_out_clients={number}' if number else ''
    raise ValueError(f'num_clients={wanted}{also} is more than the {len(clients)} clients of dataset={config.dataset}.')
  # If the number of clients is given, the first ones train, so that a client keeps its name as the number grows.
  sure = 0 if config.num_clients is None else wanted
  trains = np.append(np.ones(sure, bool), ~_held_out_clients(len(clients) - sure, number, seed))
  notes = ()
  if wanted + number < len(clients):
    notes = (f'{wanted + number} of {len(clients)} clients were kept, as num_clients says.',)
  return Ownership(trainers=clients.take(np.flatnonzero(trains)[:wanted]),
                   unseen=_never_training(clients.take(np.flatnonzero(~trains))).followed_by(strangers), common=common,
                   notes=notes)


def _places(names, among):
  """Returns [names] the place of each of the sorted `names` in the sorted `among`; -1: it is not there."""
  if not len(among):
    return np.full(len(names), -1)
  places = np.minimum(np.searchsorted(among, names), len(among) - 1)
  return np.where(among[places] == names, places, -1)


def partitioned(source: pool.Pool, config: configs.DataConfig, *, seed: int) -> Ownership:
  """Divides all examples into new clients and ignores the source's own clients.

  Raises:
    ValueError: No such split exists.
  """
  wanted = _PARTITIONED_CLIENTS if config.num_clients is None else config.num_clients
  held_out = config.held_out_clients or 0
  number = wanted + held_out
  if number > len(source.train):
    also = f' and held_out_clients={held_out}' if held_out else ''
    raise ValueError(f'num_clients={wanted}{also} is more than the {len(source.train)} training examples of '
                     f'dataset={config.dataset}.')
  train, test = (pool.tagged(part, len(source.class_names)) for part in (source.train, source.test))
  labels = partition.Labels(train=train, test=test, coarse=source.coarse_labels)
  split = partition.PARTITIONS[config.partition](labels, num_clients=number, config=config, seed=seed)
  clients = Owners(pieces_lib.Names.numbered('client_', number), devices=split.devices, pieces={
      'train': pieces_lib.Pieces.of(split.train), 'test': pieces_lib.Pieces.of(split.test)})
  common = np.setdiff1d(np.arange(len(source.test)), clients.pieces['test'].values)
  clients = _with_validation(clients, source, labels, config, seed)
  held = _held_out_clients(number, held_out, seed)
  notes = [images.Counted(f'{len(common)} test examples are of classes that no client trains on.')
           ] if len(common) else []
  if labels.train.ndim == 2:
    notes.append(f'partition={config.partition} goes by the first positive finding of each example.')
  return Ownership(trainers=clients.take(np.flatnonzero(~held)),
                   unseen=_never_training(clients.take(np.flatnonzero(held))), common=common, notes=notes)


def _with_validation(clients, source, labels, config, seed):
  """Returns the clients with the source's validation examples, divided as test examples are."""
  if source.validation is None:
    return clients
  again = partition.PARTITIONS[config.partition](dataclasses.replace(labels, test=source.validation.y),
                                                 num_clients=len(clients), config=config, seed=seed)
  train, other = clients.pieces['train'], pieces_lib.Pieces.of(again.train)
  # They differ if only one of the two sets has a class.
  same = np.array_equal(train.sizes, other.sizes) and np.array_equal(train.values, other.values)
  owned = again.test if same else np.array_split(
      np.random.default_rng(seeds.derive(seed, 'validation')).permutation(len(source.validation)), len(clients))
  return clients.replaced({'validation': pieces_lib.Pieces.of(owned).sorted()})


def on_devices(ownership: Ownership, config: configs.DataConfig, *, seed: int) -> Ownership:
  """Gives each client the imaging device that `client_shift` says; a note says which.

  Clients count from 0, those that train first, then those that never train.
  """
  if config.client_shift in SHIFTS:
    device_of = SHIFTS[config.client_shift]

    def equipped(owners, first):
      return owners.replaced({}, pieces_lib.Made(
          lambda number: device_of(config, first + number, owners.names[number], seed), range(len(owners))))

    trainers, unseen = equipped(ownership.trainers, 0), equipped(ownership.unseen, len(ownership.trainers))
    ownership = dataclasses.replace(ownership, trainers=trainers, unseen=unseen)
  said, more = [], 0
  for owners in ownership.trainers, ownership.unseen:
    for name, device in zip(owners.names, owners.devices or (), strict=owners.devices is not None):
      if device is not None and len(said) < _NAMED_DEVICES:
        said.append(f'{name}: {device.words()}')
      elif device is not None:
        more += 1
  if not said:
    return ownership
  others = f'; and {more} more' if more else ''
  note = ('Feature shift: training and test images of each client are changed as by its own device. '
          f'{"; ".join(said)}{others}.')
  return dataclasses.replace(ownership, notes=(*ownership.notes, note))


def keep_for_validation(ownership: Ownership, fraction: float, *, seed: int) -> Ownership:
  """Returns `ownership` with `fraction` of each trainer's examples kept for validation; at least one stays."""
  if not fraction:
    return ownership
  kept, train = _apart(ownership.trainers, fraction, 'validation examples', seed)
  note = images.Counted(f'{len(kept.values)} training examples were kept for validation (client_validation_fraction).')
  trainers = ownership.trainers.replaced({'train': train, 'kept_for_validation': kept})
  return dataclasses.replace(ownership, trainers=trainers, notes=(*ownership.notes, note))


def _apart(owners, fraction, use, seed):
  """Returns a random `fraction` of each client's training examples, at least one if it has two, and the others."""
  positions = owners.pieces['train']
  numbers = np.minimum(np.maximum(1, np.rint(fraction * positions.sizes)), np.maximum(0, positions.sizes - 1))
  numbers = numbers.astype(np.int64)
  kept, others = (pieces_lib.Pieces(np.zeros(sizes.sum(), np.int64), sizes)
                  for sizes in (numbers, positions.sizes - numbers))
  for name, own, number, chosen, left in zip(owners.names, positions, numbers, kept, others, strict=True):
    places = np.random.default_rng(seeds.derive(seed, use, name)).permutation(len(own))[:number]
    chosen[:], left[:] = own[np.sort(places)], np.delete(own, places)
  return kept, others


def hold_out_examples(ownership: Ownership, fraction: float, *, seed: int) -> Ownership:
  """Returns `ownership` with `fraction` of each trainer's examples kept back for testing; at least one stays."""
  if not fraction:
    return ownership
  kept, train = _apart(ownership.trainers, fraction, 'held-out examples', seed)
  note = images.Counted(f'{len(kept.values)} training examples were held out as test examples of their clients '
                        '(client_test_fraction).')
  trainers = ownership.trainers.replaced({'train': train, 'kept_back': kept})
  return dataclasses.replace(ownership, trainers=trainers, notes=(*ownership.notes, note))


def _held_out_clients(clients, number, seed):
  """Returns [clients] bool: `number` of them, chosen at random, do not train."""
  held = np.zeros(clients, bool)
  held[np.random.default_rng(seeds.derive(seed, 'held-out clients')).permutation(clients)[:number]] = True
  return held


def _never_training(owners):
  """Returns the clients with all their training examples kept back."""
  return owners.replaced({'train': pieces_lib.Pieces.nothing(len(owners)), 'kept_back': owners.pieces['train']})
