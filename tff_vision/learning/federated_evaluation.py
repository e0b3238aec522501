"""Evaluates the shared model on examples that stay where they are: each client counts, and the counts are added up.

Clients' computations are built-in TensorFlow kernels. How the counts are added up, in the clear or hidden, is the
business of the `Totals` that the evaluation is given.
"""

import dataclasses
import functools
import posixpath
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import protocols, tasks
from tff_vision.data import images as images_lib
from tff_vision.data import one_element, preprocess, records
from tff_vision.learning import tallies

_BATCH = 100


class Totals(Protocol):
  """Adds up the whole numbers of clients; see `aggregation.hidden_totals`."""

  def __call__(self, weights: Any, requests: Sequence[Any]) -> np.ndarray:
    """Returns the sums over the clients of the cohort, int64."""


class Held(Protocol):
  """Where the held-out examples of clients are."""

  @property
  def request_type(self) -> tff.Type:
    """The type of what the driver sends for one client."""

  def request(self, client: int) -> Any:
    """Returns what the driver sends for `client`."""

  def read(self, request: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns images and labels as they are stored; client graph code."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SentExamples:
  """The driver holds them, and sends them."""
  clients: images_lib.ClientImages
  spec: images_lib.ImageSpec

  @property
  def request_type(self):
    return tff.SequenceType(tff.types.tensorflow_to_type(self._element_spec))

  def request(self, client):
    examples = self.clients.examples(client)
    return one_element.OneElement({'x': examples.x, 'y': examples.y}, self._element_spec)

  def read(self, request):
    element = request.get_single_element()
    return element['x'], element['y']

  @property
  def _element_spec(self):
    return {'x': tf.TensorSpec((None, *self.spec.shape), tf.as_dtype(self.spec.dtype)),
            'y': tf.TensorSpec((None, *self.spec.label_shape), tf.as_dtype(self.spec.label_dtype))}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilesOnWorkers:
  """Each client's worker has them in a file; a missing file counts as one without examples.

  Attributes:
    folder: As in `client_data.WorkerData`.
    split: `validation` or `test`.
  """
  folder: str
  split: str
  spec: images_lib.ImageSpec

  @property
  def request_type(self):
    return tff.types.to_type(np.str_)

  def request(self, client):
    return posixpath.join(self.folder, records.file_name(client, self.split))

  def read(self, request):
    return records.read(request, self.spec)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FederatedEvaluation:
  """Evaluates a model on one split of all clients.

  Attributes:
    place: The open runtime.
    totals: Takes a computation from (model weights, request) to a vector of whole numbers, and whether the clients'
      sites share their numbers; returns the `Totals`.
    at_once: The largest number of clients in one sum.
    tally: What each client counts.
    noised: Takes the sums by name and the number of the round; returns what is told of them. None: all is told.
  """
  task: tasks.Task
  tally: tallies.Tally
  held: Held
  place: protocols.Place
  totals: Callable[..., Totals]
  at_once: int
  noised: Callable[[Mapping[str, np.ndarray], int], dict[str, Any]] | None = None

  def __call__(self, weights: tff.learning.models.ModelWeights, round_num: int) -> dict[str, Any]:
    """Returns `evaluation`, as of a test set, and what else the sums say; `examples` is 0 if there are none.

    Args:
      round_num: The round of `weights`; the noise depends on it.

    Raises:
      WorkerLost: A worker was lost.
    """
    clients = range(len(self.task.images.train))
    found = self._measured(weights, clients, self._summed, round_num)
    if self.noised is None and (sites := self.task.images.train.sharing_sites):
      found['sites'] = {name: self._measured(weights, own, self._told, round_num) for name, own in sites.items()}
    return found

  def _measured(self, weights, clients, totals, round_num):
    total, population = 0, len(self.task.images.train)
    # Parts of about equal size, because a secure sum refuses one client.
    for part in np.array_split(np.asarray(clients), -(-len(clients) // self.at_once)):
      with self.place.cohort([int(client) for client in part], population=population):
        total = total + totals(weights, [self.held.request(int(client)) for client in part])
    named = self.tally.named(np.asarray(total))
    if self.noised is not None:
      return self.noised(named, round_num)
    examples = int(named['examples'])
    return {'examples': examples, **({'evaluation': {}} if not examples else self.tally.measure(named))}

  @functools.cached_property
  def _summed(self):
    return self.totals(self._counting, self.tally.lengths)

  @functools.cached_property
  def _told(self):
    return self.totals(self._counting, self.tally.lengths, hidden=False)

  @functools.cached_property
  def _counting(self) -> tff.Computation:
    task, tally, held = self.task, self.tally, self.held

    @tff.tensorflow.computation(task.weights_type, held.request_type)
    def counting(server_weights, request):
      model = task.training_model()
      weights = tff.learning.models.ModelWeights.from_model(model)

      @tf.function
      def run(server_weights, x, y):
        for weight, value in zip([*weights.trainable, *weights.non_trainable],
                                 [*server_weights.trainable, *server_weights.non_trainable], strict=True):
          weight.assign(value)
        total = tf.zeros([sum(tally.lengths)], tf.int64)
        for first in tf.range(0, tf.shape(y)[0], _BATCH):
          batch = preprocess.evaluation_fn(task.images.preprocessing, x[first:first + _BATCH])
          labels = y[first:first + _BATCH]
          total += tally.flat(tally.of(model(batch, training=False), labels))
        return tally.told(total)

      x, y = held.read(request)
      return run(server_weights, x, y)

    # Keras layers made in a graph switch their classes, and so the driver's models, to TensorFlow 1 behaviour. Making a
    # model outside a graph switches them back.
    task.keras_model()
    return counting
