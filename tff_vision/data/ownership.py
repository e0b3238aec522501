"""Assigns examples to training clients, held-out clients and test sets before any image is read."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tff_vision import configs, seeds
from tff_vision.data import images, partition
from tff_vision.data.partition import natural as natural_partition
from tff_vision.data.partition.client_shift import SHIFTS
from tff_vision.data.partition.imaging_device import Device
from tff_vision.data.sources import pool

_NOBODYS = np.zeros(0, np.int64)
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
  kept_back: np.ndarray = dataclasses.field(default_factory=lambda: _NOBODYS)
  validation: np.ndarray = dataclasses.field(default_factory=lambda: _NOBODYS)
  kept_for_validation: np.ndarray = dataclasses.field(default_factory=lambda: _NOBODYS)
  device: Device | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ownership:
  """All clients.

  Attributes:
    trainers: Clients that train and are tested.
    unseen: Held-out clients, which are only tested.
    common: Test examples that belong to no client.
    notes: Sentences a user must see.
  """
  trainers: Sequence[Owner]
  unseen: Sequence[Owner]
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
  train = natural_partition.by_owner(source.train_owners)
  test = {} if source.test_owners is None else natural_partition.by_owner(source.test_owners)
  common = np.arange(len(source.test)) if source.test_owners is None else _NOBODYS
  mine = {name: _NOBODYS if source.strangers else test.pop(name, _NOBODYS) for name in train}
  clients = [Owner(name=name, train=positions, test=mine[name]) for name, positions in train.items()]
  if source.validation_owners is not None:
    owned = natural_partition.by_owner(source.validation_owners)
    clients = [dataclasses.replace(client, validation=owned.get(client.name, _NOBODYS)) for client in clients]
  strangers = [Owner(name=name, train=_NOBODYS, test=positions) for name, positions in test.items()]
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
  trainers, unseen = _held_out_clients(clients[sure:], number, seed)
  notes = ()
  if wanted + number < len(clients):
    notes = (f'{wanted + number} of {len(clients)} clients were kept, as num_clients says.',)
  return Ownership(trainers=[*clients[:sure], *trainers][:wanted], unseen=[*unseen, *strangers], common=common,
                   notes=notes)


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
  width = len(str(number - 1))
  clients = [Owner(name=f'client_{client:0{width}d}', train=train, test=test,
                   device=None if split.devices is None else split.devices[client])
             for client, (train, test) in enumerate(zip(split.train, split.test, strict=True))]
  clients = _with_validation(clients, source, labels, split, config, seed)
  trainers, unseen = _held_out_clients(clients, held_out, seed)
  common = np.setdiff1d(np.arange(len(source.test)), np.concatenate(split.test))
  notes = [images.Counted(f'{len(common)} test examples are of classes that no client trains on.')
           ] if len(common) else []
  if labels.train.ndim == 2:
    notes.append(f'partition={config.partition} goes by the first positive finding of each example.')
  return Ownership(trainers=trainers, unseen=unseen, common=common, notes=notes)


def _with_validation(clients, source, labels, split, config, seed):
  """Returns the clients with the source's validation examples, divided as test examples are."""
  if source.validation is None:
    return clients
  again = partition.PARTITIONS[config.partition](dataclasses.replace(labels, test=source.validation.y),
                                                 num_clients=len(clients), config=config, seed=seed)
  same = all(map(np.array_equal, split.train, again.train))  # Not if only one of the two sets has a class.
  owned = again.test if same else np.array_split(
      np.random.default_rng(seeds.derive(seed, 'validation')).permutation(len(source.validation)), len(clients))
  return [dataclasses.replace(client, validation=np.sort(own)) for client, own in zip(clients, owned, strict=True)]


def on_devices(ownership: Ownership, config: configs.DataConfig, *, seed: int) -> Ownership:
  """Gives each client the imaging device that `client_shift` says; a note says which.

  Clients count from 0, those that train first, then those that never train.
  """
  if config.client_shift in SHIFTS:
    device_of = SHIFTS[config.client_shift]
    trainers, unseen = ([dataclasses.replace(owner, device=device_of(config, first + number, owner.name, seed))
                         for number, owner in enumerate(owners)]
                        for first, owners in ((0, ownership.trainers), (len(ownership.trainers), ownership.unseen)))
    ownership = dataclasses.replace(ownership, trainers=trainers, unseen=unseen)
  said = [f'{owner.name}: {owner.device.words()}' for owner in (*ownership.trainers, *ownership.unseen)
          if owner.device is not None]
  if not said:
    return ownership
  more = f'; and {len(said) - _NAMED_DEVICES} more' if len(said) > _NAMED_DEVICES else ''
  note = ('Feature shift: training and test images of each client are changed as by its own device. '
          f'{"; ".join(said[:_NAMED_DEVICES])}{more}.')
  return dataclasses.replace(ownership, notes=(*ownership.notes, note))


def keep_for_validation(ownership: Ownership, fraction: float, *, seed: int) -> Ownership:
  """Returns `ownership` with `fraction` of each trainer's examples kept for validation; at least one stays."""
  if not fraction:
    return ownership
  trainers = []
  for owner in ownership.trainers:
    kept, train = _apart(owner.train, fraction, seeds.derive(seed, 'validation examples', owner.name))
    trainers.append(dataclasses.replace(owner, train=train, kept_for_validation=kept))
  number = sum(len(owner.kept_for_validation) for owner in trainers)
  note = images.Counted(f'{number} training examples were kept for validation (client_validation_fraction).')
  return dataclasses.replace(ownership, trainers=trainers, notes=(*ownership.notes, note))


def _apart(positions, fraction, seed):
  """Returns a random `fraction` of the positions, sorted, at least one if there are two, and the others."""
  number = min(max(1, round(fraction * len(positions))), max(0, len(positions) - 1))
  chosen = np.random.default_rng(seed).permutation(len(positions))[:number]
  return positions[np.sort(chosen)], np.delete(positions, chosen)


def hold_out_examples(ownership: Ownership, fraction: float, *, seed: int) -> Ownership:
  """Returns `ownership` with `fraction` of each trainer's examples kept back for testing; at least one stays."""
  if not fraction:
    return ownership
  trainers = []
  for owner in ownership.trainers:
    kept, train = _apart(owner.train, fraction, seeds.derive(seed, 'held-out examples', owner.name))
    trainers.append(dataclasses.replace(owner, train=train, kept_back=kept))
  kept_back = sum(len(owner.kept_back) for owner in trainers)
  note = images.Counted(
      f'{kept_back} training examples were held out as test examples of their clients (client_test_fraction).')
  return dataclasses.replace(ownership, trainers=trainers, notes=(*ownership.notes, note))


def _held_out_clients(clients, number, seed):
  """Returns the clients that train and `number` clients that do not; the choice is random."""
  chosen = set(np.random.default_rng(seeds.derive(seed, 'held-out clients')).permutation(len(clients))[:number])
  unseen = [dataclasses.replace(client, train=_NOBODYS, kept_back=client.train)
            for place, client in enumerate(clients) if place in chosen]
  return [client for place, client in enumerate(clients) if place not in chosen], unseen
