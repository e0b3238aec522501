"""Loads the model that a run exported, without the data of the run and without TFF."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_vision import objectives
from tff_vision.data import boxes, images
from tff_vision.data.sources import decode, volumes
from tff_vision.learning import evaluation
from tff_vision.models import custom
from tff_vision.objectives import detection, ordinal
from tff_vision.program import json_file, run_directory


class ExportedModel:
  """A run's exported Keras model with the names of its classes.

  Attributes:
    class_names: One name for each output.
    multi_label: Whether outputs are independent findings.
    task: The meaning of the outputs, such as `classification`.
    facts: The content of model.json.
  """

  def __init__(self, directory: run_directory.RunDirectory):
    """Loads the model.

    Raises:
      ValueError: The run has exported no model, or its files are unreadable.
    """
    described = directory.export / 'model.json'
    if not described.is_file():
      raise ValueError(f'run_dir={str(directory.path)!r} holds no exported model: {described} is missing.')
    facts = json_file.read(described)
    self.facts: Mapping[str, Any] = facts
    self.task: str = facts.get('task', 'classification')
    try:
      self.class_names: Sequence[str] = facts['class_names']
      self.multi_label: bool = facts['multi_label']
      self._shape = tuple(facts['image_shape'])
      self._stored = images.StoredPixels(**{
          field.name: facts.get(field.name, field.default) for field in dataclasses.fields(images.StoredPixels)})
    except KeyError as error:
      raise ValueError(f'{described} lacks {error}.') from None
    if directory.config.exists():
      for source in directory.description().get('model', {}).get('imports', ()):
        custom.register(source)
    path = directory.export / 'model.keras'
    try:
      self._model = tf.keras.models.load_model(path, compile=False)
    except (OSError, ValueError) as error:
      raise ValueError(f'{path} cannot be loaded as a Keras model: {str(error).splitlines()[0]}') from None

  def evaluator(self, objective: objectives.Objective | None = None, *, moves: images.Preprocessing | None = None
                ) -> evaluation.Evaluator:
    """Returns an evaluator for stored images; the model includes its preprocessing, whose crop and size are `moves`."""
    return evaluation.Evaluator(self._model, preprocessing=images.Preprocessing(scale=1.0), objective=objective,
                                moves=moves)

  def outputs(self, path: pathlib.Path | str) -> np.ndarray:
    """Returns the model's outputs, [outputs] float32, for an image of any size, grey or colour.

    Raises:
      ValueError: The file is missing, is not an image, or is corrupt.
    """
    if self.facts.get('volumes'):
      return self.outputs_of(self.opened(path))[0]
    return self._outputs_of(decode.as_stored(path, self._shape, self._stored))

  def opened(self, path: pathlib.Path | str) -> decode.Contents:
    """Returns the images in a file, which is read here and nowhere else.

    Raises:
      ValueError: As `outputs`.
    """
    return decode.opened(path, self._stored)

  def all_outputs(self, path: pathlib.Path | str) -> Mapping[str, np.ndarray]:
    """Returns the outputs for each image in a file, by name: the path, with [number] if it holds several. A model of
    volumes takes the whole file as one.

    Raises:
      ValueError: As `outputs`.
    """
    found = self.outputs_of(self.opened(path))
    return {f'{path}[{number}]' if len(found) > 1 else str(path): outputs for number, outputs in enumerate(found)}

  def outputs_of(self, opened: decode.Contents) -> Sequence[np.ndarray]:
    """Returns the outputs for each image in an opened file; errors are those of `outputs`."""
    if self.facts.get('volumes'):
      shaped = [volumes.read(opened, self._shape, self._stored)]
    else:
      shaped = [opened.shaped(number, self._shape, self._stored) for number in range(opened.count)]
    return [self._outputs_of(decode.in_range(opened.name, pixels, self._stored)) for pixels in shaped]

  @property
  def slice_axis(self) -> str:
    """The axis along which volumes are cut."""
    return self._stored.slice_axis

  def _outputs_of(self, pixels):
    return self._model(pixels[np.newaxis], training=False).numpy()[0]

  def boxes(self, path: pathlib.Path | str) -> dict[str, np.ndarray]:
    """Returns the boxes that a detector finds in one image, in the form of `objectives.detection.decoded`.

    Raises:
      ValueError: The file is missing, is not an image, or is corrupt.
    """
    found = detection.decoded(self.outputs(path)[np.newaxis])
    return found | {'boxes': boxes.in_whole(found['boxes'], self.facts.get('seen', (0, 0, 1, 1)))}

  def predict_file(self, path: pathlib.Path | str) -> np.ndarray:
    """Returns the probability of each class, or of each finding, for an image of any size, grey or colour.

    Raises:
      ValueError: The file is missing, is not an image, or is corrupt.
    """
    return self.probabilities(self.outputs(path))

  def probabilities(self, outputs: np.ndarray) -> np.ndarray:
    """Returns the probability of each class, or of each finding, [classes], for the outputs of one image."""
    logits = outputs[np.newaxis]
    if self.task == 'ordinal':
      shares = np.zeros(len(self.class_names))
      shares[self.facts['order']] = ordinal.probabilities(logits)[0]
      return shares
    return (tf.sigmoid(logits) if self.multi_label else tf.nn.softmax(logits)).numpy()[0]
