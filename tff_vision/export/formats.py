"""Exports a finished run in deployment formats; each file is compared with the federated state.

    keras/model.keras  saved_model/1/  tflite/model.tflite  tflite_int8/model.tflite  onnx/model.onnx  hub/
    model.json  model_card.{md,json}

`saved_model/1` follows the layout of TensorFlow Serving, where a model's folder holds one folder for each version.
"""

import contextlib
import dataclasses
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import catalogue, tasks
from tff_vision.data import images, preprocess
from tff_vision.export import hub, keras_export, model_card, onnx_file, serving, tflite
from tff_vision.learning import evaluation
from tff_vision.program import json_file

_HUB = 'hub'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
  """The images on which the ranges of an 8-bit model are measured.

  Attributes:
    images: Stored images, float32 [n, height, width, channels].
    source: The origin of the images, in words.
  """
  images: np.ndarray
  source: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Build:
  """Data that the writers of all formats share; each file is compared with the outputs of the federated state."""
  folder: pathlib.Path
  served: serving.ServedModel
  calibration: Calibration | None
  outputs: Callable[[np.ndarray], np.ndarray]
  images: np.ndarray
  stored: images.StoredPixels
  decide: Callable[[np.ndarray], np.ndarray] | None


def deploy(task: tasks.Problem, weights: tff.learning.models.ModelWeights, folder: pathlib.Path, *,
           report: Mapping[str, Any], formats: Sequence[str], calibration: Calibration | None = None,
           about: model_card.About | None = None) -> dict[str, Any]:
  """Writes the model to `folder`, in each format, with its card, as one atomic step.

  Args:
    task: Gives architecture, preprocessing, and the test images for the comparison.
    weights: The weights of the federated state.
    folder: The folder to make; it must not exist.
    report: The content of the run's report.json.
    formats: Keys of `FORMATS`.
    calibration: Needed by `tflite_int8`.
    about: What the owner of the model says of it, for the card.

  Returns:
    The model card. Its `formats` holds for each format: `file`, `bytes`, `images` (number compared),
    `max_logit_difference` (of the outputs, for every task), `same_class` (share of equal decisions; None if the test
    images give no threshold), and further facts of the format.

  Raises:
    RuntimeError: A float format's outputs differ by more than 1e-3 of their scale.
    ValueError: The model has diverged or cannot be converted to a format, or the folder cannot be made.
  """
  check(formats)
  model = task.keras_model()
  weights.assign_weights_to(model)
  evaluator = evaluation.Evaluator(model, preprocessing=task.images.preprocessing, objective=task.objective)
  stored = keras_export.parity_images(task)
  if keras_export.has_diverged(weights, evaluator.logits(stored)):
    raise ValueError('the model of this run answers with numbers that are not finite, because its training diverged; '
                     'there is nothing to export.')
  facts = {**keras_export.facts(task), **keras_export.yardstick(task, evaluator)}
  answers = serving.answers(facts)
  whole = preprocess.with_preprocessing(model, task.images.preprocessing, task.images.spec)
  with _whole(folder) as part:
    build = _Build(
        folder=part, calibration=calibration, outputs=evaluator.logits, images=stored,
        served=serving.ServedModel(whole, stored=task.images.stored_pixels, answers=answers),
        stored=task.images.stored_pixels, decide=_decision(facts))
    found = {name: FORMATS[name](build) for name in formats}
    for name, parity in found.items():
      parity['bytes'] = sum(path.stat().st_size for path in (part / name).rglob('*') if path.is_file())
    json_file.write(part / 'model.json', facts)
    card = model_card.describe(report, task, evaluator, found, about=about)
    model_card.write(part, card)
    if _HUB in formats:
      hub.write_card(part / _HUB, card, (part / 'model_card.md').read_text(), facts)
  return card


def check(formats: Sequence[str]) -> None:
  """Refuses a format that needs packages which are not installed.

  Raises:
    ValueError: With the command that installs them.
  """
  if 'onnx' in formats:
    onnx_file.check()


@contextlib.contextmanager
def _whole(folder):
  """Yields a folder that becomes `folder` if the body succeeds and is removed if not."""
  part = folder.with_name(folder.name + '.part')
  shutil.rmtree(part, ignore_errors=True)
  try:
    part.mkdir(parents=True)
  except OSError as error:
    raise ValueError(f'folder {str(folder)!r} cannot be made: {error.strerror}.') from None
  try:
    yield part
    os.replace(part, folder)
  finally:
    shutil.rmtree(part, ignore_errors=True)


def _decision(facts):
  """Returns the function from outputs to decisions, which formats should agree on; None if there is no threshold."""
  if facts['multi_label']:
    return lambda logits: logits > 0
  if facts['task'] == 'segmentation':
    return lambda logits: logits.argmax(axis=-1)
  if facts['task'] == 'classification':
    return lambda logits: logits.argmax(axis=1)
  if facts['task'] == 'ordinal':
    return lambda logits: (logits > 0).sum(axis=1)
  if facts['task'] == 'detection':  # Whether a cell holds the centre of an object.
    return lambda maps: maps[..., :len(facts['class_names'])] > 0
  if 'good_scores' in facts:  # For task=anomaly: an alarm, with 5 % false alarms.
    return lambda errors: errors[:, 1] > facts['good_scores'][95]
  if 'threshold' in facts:  # For task=embedding: whether two images match.
    return lambda vectors: vectors @ vectors.T > facts['threshold']
  return None


def keras(build: _Build) -> dict[str, Any]:
  """Writes the Keras model."""
  path = build.folder / 'keras' / 'model.keras'
  path.parent.mkdir()
  build.served.model.save(path)
  model = tf.keras.models.load_model(path, compile=False)
  return {'file': 'keras/model.keras'} | _exact(
      build, 'model.keras', model(build.images.astype(np.float32), training=False).numpy())


def saved_model(build: _Build) -> dict[str, Any]:
  """Writes the SavedModel."""
  path = build.folder / 'saved_model' / '1'
  tf.saved_model.save(build.served, str(path), signatures=build.served.signatures())
  loaded = tf.saved_model.load(str(path)).signatures
  name = build.served.answers.outputs
  by_tensor = loaded[serving.TENSORS](pixels=tf.constant(build.images.astype(np.float32)))[name].numpy()
  found = {'file': 'saved_model/1', 'signatures': sorted(loaded)} | _exact(build, 'SavedModel', by_tensor)
  if build.served.takes_files:
    pixels, held = _as_files(build.images, build.stored)
    files = tf.stack([tf.io.encode_png(image) for image in pixels])
    by_file = loaded[serving.FILES](image_bytes=files)[name].numpy()
    compared = _exact(build, 'SavedModel, given files,', by_file, build.outputs(held))
    found['max_logit_difference_of_files'] = compared['max_logit_difference']
  return found


def _as_files(stored_images, stored):
  """Returns the 8-bit or 16-bit images nearest to the stored images, and the pixel values that they represent."""
  if stored_images.dtype == np.uint8:
    return stored_images, stored_images
  low, high = stored.window or (0.0, 255.0)
  kind = np.uint8 if stored.window is None else np.uint16
  unit = (stored_images - stored.black) / (stored.white - stored.black)
  pixels = np.clip(np.round(low + unit * (high - low)), 0, np.iinfo(kind).max).astype(kind)
  unit = np.clip((pixels.astype(np.float64) - low) / (high - low), 0, 1)
  return pixels, (stored.black + unit * (stored.white - stored.black)).astype(np.float32)


def tflite_float(build: _Build) -> dict[str, Any]:
  """Writes the TFLite file."""
  return {'file': 'tflite/model.tflite'} | _exact(build, 'TFLite file', _converted(build, 'tflite', None))


def tflite_int8(build: _Build) -> dict[str, Any]:
  """Writes the TFLite file with 8-bit weights."""
  found, expected = _converted(build, 'tflite_int8', build.calibration.images), build.outputs(build.images)
  made = {'file': 'tflite_int8/model.tflite', 'calibration_images': len(build.calibration.images),
          'calibration_source': build.calibration.source} | _agreement(build, found, expected)
  return made | ({'error_by_deviation': error_by_deviation(found, expected)}
                 if build.served.answers.outputs == serving.NUMBER else {})


def error_by_deviation(found: np.ndarray, expected: np.ndarray) -> float | None:
  """Returns the mean absolute error of numbers, divided by the deviation of the expected ones; None if they are equal.

  Eight bits are steps of 1/255 of the range from 0 to the largest number, which is coarse for numbers far from 0.
  """
  deviation = float(np.std(expected.astype(np.float64)))
  return float(np.abs(found.astype(np.float64) - expected).mean() / deviation) if deviation else None


def _converted(build, name, calibration):
  path = build.folder / name / 'model.tflite'
  path.parent.mkdir()
  path.write_bytes(tflite.convert(build.served, calibration=calibration))
  return tflite.outputs_fn(path, build.served.answers.outputs)(build.images.astype(np.float32))


def _exact(build, what, found, expected=None):
  agreement = _agreement(build, found, build.outputs(build.images) if expected is None else expected)
  keras_export.check_difference(agreement['max_logit_difference'], agreement.pop('scale'), what=what)
  return agreement


def _agreement(build, found, expected):
  same = None if build.decide is None else float(np.mean(build.decide(found) == build.decide(expected)))
  return {'images': len(found), 'max_logit_difference': float(np.abs(found - expected).max()),
          'scale': float(np.abs(expected).max()), 'same_class': same}


def onnx(build: _Build) -> dict[str, Any]:
  """Writes the ONNX file."""
  path = build.folder / 'onnx' / 'model.onnx'
  path.parent.mkdir()
  path.write_bytes(onnx_file.convert(build.served))
  found = onnx_file.outputs_fn(path, build.served.answers.outputs)(build.images.astype(np.float32))
  return {'file': 'onnx/model.onnx'} | _exact(build, 'ONNX file', found)


def for_hub(build: _Build) -> dict[str, Any]:
  """Writes the Keras model of a hub's folder; `deploy` adds the card."""
  path = build.folder / _HUB / 'model.keras'
  path.parent.mkdir()
  build.served.model.save(path)
  model = tf.keras.models.load_model(path, compile=False)
  return {'file': f'{_HUB}/model.keras'} | _exact(
      build, 'model.keras', model(build.images.astype(np.float32), training=False).numpy())


FORMATS: Mapping[str, Callable[[_Build], dict[str, Any]]] = catalogue.Loaded('format')
