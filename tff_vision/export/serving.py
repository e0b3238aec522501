"""Wraps a model for TensorFlow Serving and TFLite: preprocessing inside, signatures for tensors and image files.

Both signatures return the entry of `ANSWERS` for the task, [batch, ...]. The batch size is arbitrary.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tff_vision.data import boxes, images
from tff_vision.data.sources import decode_graph
from tff_vision.objectives import centre_points

TENSORS = 'serving_default'
FILES = 'serving_bytes'
NUMBER = 'number'


@dataclasses.dataclass(frozen=True)
class Answers:
  """The answers of a server.

  Attributes:
    outputs: The name of the unchanged model outputs in the result of `named`.
    named: Function from outputs, [batch, outputs], to the returned tensors by name.
  """
  outputs: str
  named: Callable[[tf.Tensor], dict[str, tf.Tensor]]


def _steps(above):
  """Returns the probability of each class in the order of the scale, from those that it is above each step."""
  return tf.pad(above, [[0, 0], [1, 0]], constant_values=1.0) - tf.pad(above, [[0, 0], [0, 1]])


# By task; for classification, 'findings' if an image has several.
ANSWERS: Mapping[str, Answers] = {
    'classification': Answers('logits', lambda logits: {'logits': logits, 'probabilities': tf.nn.softmax(logits)}),
    'findings': Answers('logits', lambda logits: {'logits': logits, 'probabilities': tf.sigmoid(logits)}),
    'anomaly': Answers('errors', lambda errors: {'errors': errors, 'score': errors[:, 1]}),
    'detection': Answers('maps', lambda maps: {'maps': maps, **centre_points.decode(maps)}),
    'segmentation': Answers('logits', lambda logits: {'logits': logits, 'probabilities': tf.nn.softmax(logits),
                                                      'classes': tf.argmax(logits, -1, tf.int32)}),
    'embedding': Answers('embedding', lambda vectors: {'embedding': vectors}),
    'regression': Answers(NUMBER, lambda numbers: {NUMBER: numbers}),
    'ordinal': Answers('logits', lambda logits: {'logits': logits, 'probabilities': _steps(tf.sigmoid(logits))}),
}


def answers(facts: Mapping[str, Any]) -> Answers:
  """Returns the answers of the model that `facts`, the content of model.json, describe."""
  found = ANSWERS['findings' if facts['multi_label'] else facts['task']]
  if 'seen' not in facts:
    return found

  def named(maps):
    made = found.named(maps)
    return made | {'boxes': boxes.in_whole(made['boxes'], facts['seen'])}
  return Answers(found.outputs, named)


class ServedModel(tf.Module):
  """The module that `tf.saved_model.save` writes.

  Attributes:
    model: Takes stored images, float32 [batch, height, width, channels], and returns outputs.
    answers: Describes the answers that are computed from the outputs.
  """

  def __init__(self, model: tf.keras.Model, *, stored: images.StoredPixels, answers: Answers):
    """Wraps `model`; `stored` describes the pixels of stored images."""
    super().__init__()
    self.model = model
    self._shape = tuple(model.input_shape[1:])
    self._stored = stored
    self.answers = answers

  def with_model(self, model: tf.keras.Model) -> 'ServedModel':
    """Returns the same wrapper around another model."""
    return ServedModel(model, stored=self._stored, answers=self.answers)

  def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
    """Returns the functions of both signatures by name; the one for files only if the model can read files."""
    files = tf.TensorSpec((None,), tf.string, name='image_bytes')
    found = {TENSORS: self.classify_pixels.get_concrete_function(self.pixels())}
    if self.takes_files:
      found[FILES] = self.classify_files.get_concrete_function(files)
    return found

  @property
  def takes_files(self) -> bool:
    """Whether the stored values of black and white are known, and images are no volumes."""
    return self._stored.black is not None and self._shape[-1] in (1, 3)

  def pixels(self) -> tf.TensorSpec:
    """Returns the spec of a batch of images."""
    return tf.TensorSpec((None, *self._shape), tf.float32, name='pixels')

  @tf.function
  def classify_pixels(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns the answers for stored images, float32 [batch, height, width, channels]."""
    number = tf.shape(pixels)[0]
    # TensorFlow's fused convolutions fail on an empty batch, which a queue may send; it is replaced by one black image.
    padded = tf.pad(pixels, [[0, tf.cast(number == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
    return {name: values[:number] for name, values in self.classify_some(padded).items()}

  @tf.function
  def classify_some(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns the answers for a batch of at least one stored image."""
    return self.answers.named(self.model(pixels, training=False))

  @tf.function
  def classify_files(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns the answers for the content of PNG, JPEG, BMP or GIF files of any size, string [batch]."""
    pixels = tf.map_fn(self._decoded, image_bytes,
                       fn_output_signature=tf.TensorSpec(self._shape, tf.float32))
    return self.classify_pixels(pixels)

  def _decoded(self, content):
    return decode_graph.as_stored(content, self._shape, self._stored)
