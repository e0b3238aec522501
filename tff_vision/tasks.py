"""A task: client images and the model that learns from them, checked where they meet."""

import contextlib
import dataclasses
import functools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import configs, labels, models, objectives, seeds
from tff_vision.data import attacked, batches, one_element, preprocess
from tff_vision.data import images as images_lib
from tff_vision.models import blank, check, personal_layers, pretrained, replayable
from tff_vision.objectives import losses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
  """What is learned, from whose images, with which model, checked for fit; a `Task` adds how clients train.

  Attributes:
    images: The clients' examples and the test set.
    model_builder: A value of the registry `tff_vision.models.MODELS`.
    learned: The objective of the model; None means the images' classes, findings or masks.
    start: Sets a fresh model's weights to those of round 0, where they are not random.
    notes: Sentences about the model that a user must see.
    personal_layers: The layers that stay on each client, as in `AlgorithmConfig.personal_layers`; None: no algorithm
      keeps layers.
    checked: The model that was found to fit its images; a problem derived from this one is not checked again.
  """
  images: images_lib.FederatedImages
  model_builder: models.ModelBuilder
  learned: objectives.Objective | None = None
  start: Callable[[tf.keras.Model], None] = lambda model: None
  notes: Sequence[str] = ()
  personal_layers: str | None = None
  checked: tuple[Any, ...] = dataclasses.field(default=(), repr=False, compare=False)

  def __post_init__(self):
    if not len(self.images.train):
      raise ValueError(f'dataset {self.images.name} has no clients.')
    returned = objectives.base.output_shape(self.objective, self.input_shape)
    model = (self.model_builder, self.learned, self.input_shape, returned, self.personal_layers)
    if self.checked != model:
      made = self.keras_model()
      personal = () if self.personal_layers is None else personal_layers.chosen(made, self.personal_layers)
      check.check(made, input_shape=self.input_shape, output_shape=returned, personal=personal)
      if not self.loss_is_separable:
        losses.check(self.loss_fn, self.batch_spec[1], tf.TensorSpec(made.output_shape, made.outputs[0].dtype))
      object.__setattr__(self, 'checked', model)

  def check_file(self, name: str) -> None:
    """Refuses a model that no Keras file can hold; `name` is the model in the message. Raises: ValueError: Says why."""
    check.check_file(self.keras_model(), name)

  @functools.cached_property
  def objective(self) -> objectives.Objective:
    """The objective of the model."""
    return self.learned or objectives.of_images(self.images)

  @functools.cached_property
  def input_shape(self) -> tuple[int, int, int]:
    """The shape of the model's input, after preprocessing: (height, width, channels)."""
    return preprocess.input_shape(self.images.preprocessing, self.images.spec.shape)

  @property
  def loss_fn(self) -> tf.keras.losses.Loss:
    """The loss of outputs, averaged over a batch."""
    return self.objective.loss_fn

  @property
  def loss_is_separable(self) -> bool:
    """Whether the loss of a batch is known to be the mean of terms that depend on one example each."""
    return objectives.is_separable(self.objective)

  @property
  def batch_spec(self) -> tuple[tf.TensorSpec, tf.TensorSpec]:
    """The specs of one training batch: float32 [batch, height, width, channels] and its labels."""
    spec = self.images.spec
    label_shape = spec.labels.shape(self.input_shape, len(spec.class_names), spec.max_boxes)
    return (tf.TensorSpec((None, *self.input_shape), tf.float32),
            tf.TensorSpec((None, *label_shape), tf.as_dtype(spec.label_dtype)))

  def keras_model(self) -> tf.keras.Model:
    """Returns a fresh model with arbitrary initial weights; its layers have the same names each time."""
    tf.keras.backend.reset_uids()
    return self.objective.keras_model(self.model_builder, self.input_shape)

  def trained_by(self, client: configs.ClientConfig, *, seed: int) -> 'Task':
    """Returns the task whose clients train as `client` says; `seed` fixes initial weights and the order of examples."""
    return Task(client=client, seed=seed, **{field.name: getattr(self, field.name)
                                             for field in dataclasses.fields(Problem)})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task(Problem):
  """A problem, and how its clients train on it.

  Attributes:
    client: Batch size and local epochs.
    seed: Root seed; it fixes initial weights and the order of examples.
  """
  client: configs.ClientConfig
  seed: int

  @functools.cached_property
  def largest_client(self) -> int:
    """The number of examples of the largest client, or a public bound on it."""
    return self.images.train.most_examples

  def initial_weights(self, variant: int = 0) -> tff.learning.models.ModelWeights:
    """Returns the weights of round 0, a function of the seed and of the model file, if there is one.

    Args:
      variant: Another than 0 draws random weights in their place.
    """
    path = ('initial weights', variant) if variant else ('initial weights',)
    with keras_seed(seeds.derive(self.seed, *path) % 2**32):
      model = self.keras_model()
    if not variant:
      self.start(model)
    return tff.learning.models.ModelWeights.from_model(model)

  def initial_trainable(self, variant: int = 0) -> tuple[np.ndarray, ...]:
    """Returns the trainable part of `initial_weights`."""
    return tuple(weight.numpy() for weight in self.initial_weights(variant).trainable)

  def training_model(self) -> tf.keras.Model:
    """Returns a model for a client's computation; its weights are zero until they are assigned."""
    return blank.blank_model(lambda: replayable.with_replayable_dropout(self.keras_model))

  def model_fn(self) -> tff.learning.models.VariableModel:
    """Returns the model for TFF's own algorithms; it is traced in TFF's graph, so each call builds a new one."""
    return tff.learning.models.from_keras_model(
        replayable.with_replayable_dropout(self.keras_model), loss=self.loss_fn,
        metrics=self.objective.metrics(), input_spec=self.batch_spec)

  @functools.cached_property
  def weights_type(self) -> tff.StructType:
    """The type of the model's weights in TFF."""
    return tff.tensorflow.computation(
        lambda: tff.learning.models.ModelWeights.from_model(self.keras_model())).type_signature.result

  @functools.cached_property
  def batch_reader(self) -> batches.BatchReader:
    """Converts one client's data set to the batches of its local epochs."""
    return batches.BatchReader(stored=self.images.spec, preprocessing=self.images.preprocessing,
                               epochs=self.client.client_epochs, batch_size=self.client.batch_size)

  def client_dataset(self, client: int, round_num: int) -> tf.data.Dataset:
    """Returns the input of a learning process for `client` in round `round_num`: one element for `batch_reader`.

    It is a pure function of (seed, client, round), so that a repeated round gets the same data.
    """
    return self.client_element(client, round_num).dataset()

  def client_element(self, client: int, round_num: int) -> one_element.OneElement:
    """Returns `client_dataset` in a form that is fast to send.

    Raises:
      ValueError: The client gives examples of another kind than the images say. Executors would fail with pixels and
        labels in their messages.
    """
    train = self.images.train
    examples = train.examples(client)
    if found := self.images.spec.difference(examples):
      raise ValueError(f'client {train.client_ids[client]} of dataset={self.images.name} has examples of another kind '
                       f'in round {round_num}: they have {found} as the spec of the data set says.')
    return self.batch_reader.element(examples.x, examples.y, seed=self.round_seed(client, round_num))

  def client_batches(self, client: int, round_num: int) -> tf.data.Dataset:
    """Returns the batches that `client` trains on in round `round_num`, for training loops other than ours.

    Raises:
      ValueError: The images are mixed, so that their labels are not of the usual type.
    """
    if mixup := self.images.preprocessing.augmentation.mixup:
      raise ValueError(f'augment_mixup={mixup:g} gives two labels to each image, which other training loops do not '
                       'read.')
    everything = self.batch_reader.open(self.client_dataset(client, round_num)).all_epochs()
    return tf.data.Dataset.from_tensor_slices(everything).batch(self.client.batch_size)

  def round_seed(self, client: int, round_num: int) -> int:
    """Returns the seed of all randomness in one client's examples in one round."""
    return seeds.derive(self.seed, 'client', self.images.train.client_ids[client], round_num)


def build_problem(config: configs.ExperimentConfig, images: images_lib.FederatedImages,
                  objective: objectives.Objective) -> Problem:
  """Joins the images, with the attacks on the attackers' images, and the model of `config`.

  Args:
    images: The images that `config.data` names.
    objective: The objective that `config.task` names.

  Raises:
    ValueError: Model and data do not fit.
  """
  images = attacked.attacked(config.attack, images, seed=config.program.seed)
  _refuse_one_class(images, config.task.task)
  if config.task.task == 'embedding':
    images = _with_note_on_one_class(images)
  if config.data.client_validation_fraction and config.program.select_best is None:
    note = (f'client_validation_fraction={config.data.client_validation_fraction:g} keeps examples back that nothing '
            'reads: select_best is not given.')
    images = dataclasses.replace(images, notes=(*images.notes, note))
  if config.model.initial_model is None:
    return Problem(images=images, learned=objective, model_builder=models.builder(config.model),
                   personal_layers=config.algorithm.kept_layers, notes=tuple(getattr(objective, 'notes', ())))
  models.import_modules(config.model)
  input_shape = preprocess.input_shape(images.preprocessing, images.spec.shape)
  given = pretrained.load(
      config.model.initial_model, frozen_layers=config.model.frozen_layers, num_outputs=objective.head,
      output_shape=objectives.base.output_shape(objective, input_shape), input_shape=input_shape)
  notes = [*getattr(objective, 'notes', ()), *given.notes, *_surprises(given, images)]
  return Problem(images=images, learned=objective, model_builder=given.build, start=given.start,
                 personal_layers=config.algorithm.kept_layers, notes=tuple(notes))


def _refuse_one_class(images, task):
  """Refuses a data set with too few classes to distinguish.

  Raises:
    ValueError: The data set has one class.
  """
  if task == 'classification' and images.spec.labels is labels.Kind.CLASS and len(images.class_names) < 2:
    raise ValueError(f'dataset={images.name} has one class only, {", ".join(map(str, images.class_names))}: '
                     'classification needs two, and task=anomaly learns from one.')


def _with_note_on_one_class(images):
  """Adds a note if clients have nothing to compare, where labels are known without reading images."""
  if not isinstance(images.train, images_lib.ArrayClients):
    return images
  parts = np.split(images.training_labels(), np.cumsum(images.train.sizes)[:-1])
  alone = sum(len(np.unique(part)) == 1 for part in parts)  # A client may hold no image.
  note = images_lib.Counted(f'{alone} of {len(parts)} clients hold images of one class alone: an embedding learns '
                            'nothing from them, because it compares classes.')
  return dataclasses.replace(images, notes=(*images.notes, note)) if alone else images


def _surprises(given, images):
  """Returns notes on a model from a file that scales pixels itself, or draws random numbers that cannot be repeated."""
  preprocessing, notes = images.preprocessing, []
  if given.rescales and (images.spec.dtype != np.uint8 or preprocessing.scale != 1):
    notes.append(f'Its first layer {given.rescales} scales pixels itself, and gets them scaled already (preprocess='
                 f'{preprocessing.pixels}); preprocess=none gives it stored pixels.')
  with tf.Graph().as_default():
    unseeded = replayable.unseeded(given.build((), 0))
  if unseeded:
    notes.append(f'Layers that draw at random in a way that cannot be repeated: {", ".join(unseeded)}. Another run of '
                 'the same seed, and a resumed run, will not be the same.')
  return notes


@contextlib.contextmanager
def keras_seed(seed: int) -> Iterator[None]:
  """Seeds Keras's initializers, and restores the generators of Python and numpy afterwards."""
  saved = random.getstate(), np.random.get_state()
  tf.keras.utils.set_random_seed(seed)
  try:
    yield
  finally:
    random.setstate(saved[0])
    np.random.set_state(saved[1])
    # The order in which `tf.data` shuffles also depends on this seed, and workers do not have it.
    tf.random.set_seed(None)
