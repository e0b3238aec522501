"""Evaluates the clients' own models beside the shared one, on each client's own test examples.

A client's own model is what its algorithm keeps for it (`algorithm.own_model`), or the shared model after some local
epochs: fine-tuning, Wang et al., "Federated Evaluation of On-device Personalization", 2019, arXiv:1910.10252; Cheng et
al., "Fine-tuning is Fine in Federated Learning", 2021, arXiv:2108.07313.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_federated as tff

from tff_vision import tasks
from tff_vision.client_state import store as store_lib
from tff_vision.data import images
from tff_vision.learning import algorithm as algorithm_lib
from tff_vision.learning import client_data, evaluation, local_steps, local_training

Model = tff.learning.models.ModelWeights
_AT_ONCE = 8  # The number of clients whose fine-tuned models are in memory at the same time.


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeptModels:
  """The models that an algorithm's clients keep.

  Attributes:
    algorithm: A personal algorithm.
    store: The store of the clients' states.
    joins: Whether what clients keep may be joined in the shared model; nothing was promised to them.
  """
  algorithm: algorithm_lib.Algorithm
  store: store_lib.Store
  task: tasks.Task
  joins: bool = True

  def evaluate(self, evaluator: evaluation.Evaluator, state: tff.learning.templates.LearningAlgorithmState,
               round_num: int) -> tuple[tff.learning.models.ModelWeights, dict[str, Any]]:
    """Returns `joint_model` after round `round_num`, and the numbers of `compare` with it as the shared model.

    What each client keeps is read once, and only one client's is in memory. Clients that never took part use the shared
    model. The numbers also have `joined` if the shared model joins what clients keep: the number of these clients.
    """
    weights = _model(state.global_model_weights)
    server = _arrays(state.finalizer['algorithm'])
    comparison, known = Comparison(evaluator, self.task.images.test), 0

    def evaluated():
      """Yields what each client keeps, after its own model was evaluated."""
      nonlocal known
      for client in range(len(self.task.images.train)):
        if not self.store.knows(client):
          comparison.add(client, None)
          continue
        known += 1
        kept = self.store.read(client, round_num + 1)
        comparison.add(client, _model(self.algorithm.own_model(kept, server, weights)))
        yield kept

    passing = evaluated()
    joint = self.algorithm.joint_model(passing, weights) if self._is_joined else weights
    for _ in passing:  # Those that were not read to be joined.
      pass
    found = comparison.with_shared(_model(joint))
    return joint, {**found, 'joined': known} if self._is_joined else found

  def joint_model(self, weights: Model, round_num: int | None = None) -> Model:
    """Returns the model for clients that never trained.

    Args:
      weights: The server's model.
      round_num: The round after which it is; None: the last one that there was.
    """
    if not self._is_joined:
      return weights
    following, clients = None if round_num is None else round_num + 1, range(len(self.task.images.train))
    return self.algorithm.joint_model(
        (self.store.read(client, following) for client in clients if self.store.knows(client)), weights)

  @property
  def _is_joined(self):
    return self.joins and type(self.algorithm).joint_model is not algorithm_lib.Algorithm.joint_model


def compare(evaluator: evaluation.Evaluator, held_out: images.HeldOut, shared: Model,
            models: Iterable[tuple[int, Model | None]]) -> dict[str, Any]:
  """Returns the metrics of the clients' own models and of the shared model on the clients' own test examples.

  Args:
    held_out: `clients[i]` are the test examples of client i; clients without any are left out.
    shared: The shared model.
    models: As `Comparison.add` takes them.

  Returns:
    `shared` and `own`, each as `evaluation.summary`; `gaining`, the share of clients whose own model is better than the
    shared model by at least one example; `never_trained`, the number of clients without a model of their own.
  """
  comparison = Comparison(evaluator, held_out)
  for client, own in models:
    comparison.add(client, own)
  return comparison.with_shared(shared)


class Comparison:
  """A `compare` that is given the clients' own models one after the other, and the shared model at the end."""

  def __init__(self, evaluator: evaluation.Evaluator, held_out: images.HeldOut):
    self._evaluator, self._held_out = evaluator, held_out
    self._own: dict[int, float | None] = {}  # Of every client that has test examples; None: the shared model's.
    self._never_trained = 0

  def add(self, client: int, own: Model | None) -> None:
    """Evaluates a client's own model; None: it has none and uses the shared one. Every client is added once."""
    self._never_trained += own is None
    if len(self._held_out.clients[client]):
      self._own[client] = None if own is None else self._value(client, own)

  def with_shared(self, shared: Model) -> dict[str, Any]:
    """Returns what `compare` returns; the evaluator's model holds `shared` then."""
    _assign(self._evaluator, shared)
    shared_values, own_values = [None] * len(self._held_out.clients), [None] * len(self._held_out.clients)
    for client, own in self._own.items():
      shared_values[client] = self._value(client)
      own_values[client] = shared_values[client] if own is None else own
    higher = self._evaluator.higher_is_better
    gains = [own > common if higher else own < common
             for own, common in zip(own_values, shared_values, strict=True) if own is not None]
    return {'shared': evaluation.summary(shared_values, higher_is_better=higher),
            'own': evaluation.summary(own_values, higher_is_better=higher),
            'gaining': float(np.mean(gains)) if gains else 0.0, 'never_trained': self._never_trained}

  def _value(self, client, model=None):
    """Returns the metric of a model, or of the one that the evaluator has, on the examples of a client."""
    if model is not None:
      _assign(self._evaluator, model)
    positions = self._held_out.clients[client]
    alone = images.HeldOut(examples=self._held_out.examples.take(positions), clients=[np.arange(len(positions))])
    return self._evaluator.evaluate(alone)['per_client']['accuracies'][0]


def fine_tuned(task: tasks.Task, local: local_training.LocalOptimization, weights: tff.learning.models.ModelWeights, *,
               data: client_data.SentData | client_data.WorkerData, epochs: int, round_num: int,
               cohort: Callable[..., Any]) -> Iterator[tuple[int, Model | None]]:
  """Yields every client with the shared model after `epochs` more local epochs; computed where the clients work.

  Args:
    local: The settings of local optimization.
    round_num: Determines the order of the examples: the number that follows the last round.
    cohort: `Runtime.cohort`.
  """
  task = dataclasses.replace(task, client=dataclasses.replace(task.client, client_epochs=epochs))
  data = dataclasses.replace(data, task=task)
  train = _build_fine_tuning(task, local, data)
  # Keras layers made in a graph switch their classes, and so the evaluator's model, to TensorFlow 1 behaviour. Making a
  # model outside a graph switches them back.
  task.keras_model()
  population = range(len(task.images.train))
  for first in population[::_AT_ONCE]:
    clients = population[first:first + _AT_ONCE]
    with cohort(clients, population=len(population)):
      present = data.present(clients)
    models = {}
    if present:
      with cohort(present, population=len(population)):
        tuned = train(weights, [data.request(client, round_num) for client in present])
      models = dict(zip(present, tuned, strict=True))
    for client in clients:
      model = models.get(client)
      yield client, None if model is None else _model(Model(model, weights.non_trainable))


def _build_fine_tuning(task, local, data):
  dataset = data.dataset if isinstance(data, client_data.WorkerData) else None
  data_type = tff.SequenceType(tff.types.tensorflow_to_type(task.batch_reader.element_spec))

  @tff.tensorflow.computation(task.weights_type, data_type)
  def train(weights, examples):
    trained = local_steps.descend(
        task, local.optimizer(local.client.client_learning_rate), weights, examples,
        change=lambda carried, gradients, at, server: (carried, local.change(gradients, at)))
    return tuple(trained.weights)

  request_type = dataset.type_signature.parameter if dataset else data_type

  @tff.federated_computation(tff.FederatedType(task.weights_type, tff.SERVER),
                             tff.FederatedType(request_type, tff.CLIENTS))
  def on_clients(weights, requests):
    examples = tff.federated_map(dataset, requests) if dataset else requests
    return tff.federated_map(train, (tff.federated_broadcast(weights), examples))

  return on_clients


def _assign(evaluator, model):
  for variables, values in ((evaluator.model.trainable_weights, model.trainable),
                            (evaluator.model.non_trainable_weights, model.non_trainable)):
    for variable, value in zip(variables, values, strict=True):
      variable.assign(value)


def _model(weights):
  return Model(*([np.asarray(weight) for weight in part] for part in (weights.trainable, weights.non_trainable)))


def _arrays(structure):
  if isinstance(structure, tff.structure.Struct | tuple | list):
    return tuple(_arrays(part) for part in structure)
  return np.asarray(structure)


def scalars(found: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the numbers of `compare` that belong in a round's record."""
  return {'shared_mean': found['shared'].get('mean'), 'own_mean': found['own'].get('mean'),
          'own_percentile_10': found['own'].get('percentile_10'), 'gaining': found['gaining']}
