"""What the driver passes to a learning process for each client: examples, or the place where a worker finds them."""

import collections
import dataclasses
import functools
import posixpath
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import protocols, tasks
from tff_vision.data import one_element, records
from tff_vision.learning import composition


@dataclasses.dataclass(frozen=True, kw_only=True)
class SentData(protocols.ClientData):
  """The driver holds the examples and sends them."""
  task: tasks.Task

  def present(self, cohort: Sequence[int]) -> Sequence[int]:
    """Returns the clients of `cohort` that have data, which are all of them."""
    return cohort

  def request(self, client: int, round_num: int) -> one_element.OneElement:
    """Returns the input of `process.next` for `client`.

    Raises:
      ValueError: The client has another number of examples than its images say: what a run costs, and the room of a
        secure sum, follow from that number.
    """
    train = self.task.images.train
    element = self.task.client_element(client, round_num)
    found = len(element.values['y'])
    if train.counted and found != (said := train.num_given(client)):
      raise ValueError(f'client {train.client_ids[client]} of dataset={self.task.images.name} has {found} examples in '
                       f'round {round_num}, and is said to have {said}: what its images say (num_examples) and give '
                       '(examples) must agree.')
    return element


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkerData(protocols.ClientData):
  """The examples are on the workers: the driver sends file names, and the worker's graph reads the files.

  Attributes:
    task: Its `images.train` gives the number of examples in each file; a worker that finds another number refuses to
      train. Where nobody may know the numbers, it gives a bound, and a worker that finds more refuses. `count` needs
      only a problem.
    folder: The folder of the files as the executors see it; the same path on every worker.
  """
  task: Any
  folder: str

  def present(self, cohort: Sequence[int]) -> Sequence[int]:
    """Asks the workers which clients of `cohort` have their files there, and returns these clients.

    Raises:
      WorkerLost: A worker no longer answers.
      ValueError: A file is not there, and every sum must be over all clients.
    """
    found = self._exist([self._path(client) for client in cohort]) if len(cohort) else []
    train = self.task.images.train
    if train.always_together and (away := [train.client_ids[client] for client, exists in zip(
        cohort, found, strict=True) if not exists]):
      raise ValueError(f'the training file of {", ".join(away[:12])} is not at its worker: with private_counts, a sum '
                       'without it would tell how many examples it has.')
    return [client for client, exists in zip(cohort, found, strict=True) if exists]

  def count(self, place: protocols.Place) -> Mapping[int, int]:
    """Returns the number of examples in the file of each client that can be reached and has a file."""
    paths = [self._path(client) for client in range(len(self.task.images.train))]

    def ask(parties):
      clients = [party.position for party in parties]
      return dict(zip(clients, self._count([paths[client] for client in clients]), strict=True)) if clients else {}

    return {client: int(number) for client, number in place.with_parties(len(paths), ask).items() if number >= 0}

  def request(self, client: int, round_num: int) -> tuple[str, int, int]:
    """Returns what the driver sends instead of the examples: (path, seed, announced number of examples)."""
    train = self.task.images.train
    announced = train.num_examples(client) if train.counted else 0
    return self._path(client), self.task.round_seed(client, round_num), announced

  def read_on_workers(self, process: composition.Composed) -> composition.Composed:
    """Returns a process whose `next` takes a `request` for each client.

    The resulting weights are the same as when the driver sends the examples. A round fails if the number of a client's
    examples differs from the announced number; it fails before any example is trained on.
    """
    return dataclasses.replace(process, round=_reading(self.dataset, process.round))

  @functools.cached_property
  def dataset(self) -> tff.Computation:
    """A computation from a client's `request` to its data set; runs on the worker."""
    train = self.task.images.train

    def fits(path, found, announced):
      return records.agreed(path, found, announced) if train.counted else records.bounded(
          path, found, train.most_examples)

    @tff.tensorflow.computation(np.str_, np.int64, np.int64)
    def dataset(path, seed, announced):
      x, y = records.read(path, self.task.images.spec)
      with tf.control_dependencies([fits(path, tf.shape(y, tf.int64)[0], announced)]):
        return self.task.batch_reader.dataset(tf.identity(x), tf.identity(y), seed=seed)
    return dataset

  def _path(self, client):
    return posixpath.join(self.folder, records.file_name(client))

  @functools.cached_property
  def _count(self):
    count = tff.tensorflow.computation(records.count, np.str_)
    return tff.federated_computation(lambda paths: tff.federated_map(count, paths),
                                     tff.FederatedType(np.str_, tff.CLIENTS))

  @functools.cached_property
  def _exist(self):
    exists = tff.tensorflow.computation(lambda path: tf.size(tf.io.matching_files(path)) > 0, np.str_)
    return tff.federated_computation(lambda paths: tff.federated_map(exists, paths),
                                     tff.FederatedType(np.str_, tff.CLIENTS))


class LateData(protocols.WrappedData):
  """The data of clients whose updates may arrive late, together with each client's delay."""

  def __init__(self, data: protocols.ClientData, begun: Callable[[int, int], int]):
    """Initializes the data.

    Args:
      data: The data of clients without delay.
      begun: Function from a client and the round that receives its update to the round in which the client began.
    """
    super().__init__(data)
    self._begun = begun

  def request(self, client: int, round_num: int) -> tuple[Any, tf.data.Dataset]:
    """Returns the input of `process.next` for `client`: its data of the round in which it began, and the delay."""
    begun = self._begun(client, round_num)
    return self._data.request(client, begun), tf.data.Dataset.from_tensors(np.int32(round_num - begun))


class OwnNumberData(protocols.WrappedData):
  """The data of clients together with each client's number."""

  def request(self, client: int, round_num: int) -> tuple[Any, tf.data.Dataset]:
    """Returns the input of `process.next` for `client`: its data, and its number."""
    return self._data.request(client, round_num), tf.data.Dataset.from_tensors(np.int32(client))


def _reading(dataset, next_fn):
  """Returns `next_fn` with `dataset` applied to its clients' data.

  The data are the examples, or pairs of the examples and another value. Pairs may be nested: the other values are the
  client's kept state, its delay and the seeds of its masks.
  """
  state_type, data_type = next_fn.type_signature.parameter

  @tff.federated_computation(state_type, tff.FederatedType(_requests_type(dataset, data_type.member), tff.CLIENTS))
  def reading(state, requests):
    return next_fn(state, _read(dataset, data_type.member, requests))

  return reading


def _requests_type(dataset, kind):
  if isinstance(kind, tff.SequenceType):
    return dataset.type_signature.parameter
  return tff.types.to_type(_paired(kind, _requests_type(dataset, kind[0]), kind[1]))


def _read(dataset, kind, requests):
  if isinstance(kind, tff.SequenceType):
    return tff.federated_map(dataset, requests)
  return tff.federated_zip(_paired(kind, _read(dataset, kind[0], requests[0]), requests[1]))


def _paired(kind, first, second):
  """Returns a pair with the names of `kind`, which has some where a site may put its own value in."""
  names = tff.structure.name_list(kind)
  return collections.OrderedDict(zip(names, (first, second), strict=True)) if names else (first, second)
