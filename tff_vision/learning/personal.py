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
               round_num: int) -> dict[str, Any]:
    """Returns the numbers of `compare` after round `round_num`; clients that never took part use the shared model.

    The result also has `joined` if the shared model joins what clients keep: the number of these clients.
    """
    weights = _model(state.global_model_weights)
    shared = _model(self.joint_model(weights, round_num))
    server = _arrays(state.finalizer['algorithm'])

    def own(client):
      if not self.store.knows(client):
        return None
      return _model(self.algorithm.own_model(self.store.read(client, round_num + 1), server, weights))

    found = compare(evaluator, self.task.images.test, shared,
                    ((client, own(client)) for client in range(len(self.task.images.train))))
    if self._is_joined:
      found['joined'] = sum(self.store.knows(client) for client in range(len(self.task.images.train)))
    return found

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
    models: Every client once, with its model; None: the client has no own model and uses the shared one.

  Returns:
    `shared` and `own`, each as `evaluation.summary`; `gaining`, the share of clients whose own model is better than the
    shared model by at least one example; `never_trained`, the number of clients without a model of their own.
  """
  shared_values, own_values = [None] * len(held_out.clients), [None] * len(held_out.clients)
  never_trained = 0
  for client, own in models:
    never_trained += own is None
    if not len(held_out.clients[client]):
      continue
    shared_values[client] = _value(evaluator, held_out, client, shared)
    own_values[client] = shared_values[client] if own is None else _value(evaluator, held_out, client, own)
  _assign(evaluator, shared)
  higher = evaluator.higher_is_better
  gains = [own > common if higher else own < common
           for own, common in zip(own_values, shared_values, strict=True) if own is not None]
  return {'shared': evaluation.summary(shared_values, higher_is_better=higher),
          'own': evaluation.summary(own_values, higher_is_better=higher),
          'gaining': float(np.mean(gains)) if gains else 0.0, 'never_trained': never_trained}


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


def _value(evaluator, held_out, client, model):
  _assign(evaluator, model)
  positions = held_out.clients[client]
  alone = images.HeldOut(examples=held_out.examples.take(positions), clients=[np.arange(len(positions))])
  return evaluator.evaluate(alone)['per_client']['accuracies'][0]


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
