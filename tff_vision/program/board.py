"""What TensorBoard shows beside the numbers of the rounds: settings (HParams), images, and histograms over clients.

Under a promise only the settings are written; see `managers`.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import summary_v2 as hparams

from tff_vision.data import images as images_lib

_SHOWN_IMAGES = 16


def settings_summary(settings: Mapping[str, Any], name: str) -> bytes:
  """Returns the settings of a run as a serialized summary of TensorBoard's HParams, without a time.

  Args:
    settings: Name -> Boolean, number or text.
    name: The name of the run in the table of HParams.
  """
  return hparams.hparams_pb(dict(settings), trial_id=name, start_time_secs=0).SerializeToString()


class Board:
  """Writes to the log directory of a run that promises nothing."""

  def __init__(self, logdir: pathlib.Path, settings: Mapping[str, Any]):
    self._writer = tf.summary.create_file_writer(str(logdir), filename_suffix='.board')
    with self._writer.as_default(0):
      tf.summary.experimental.write_raw_pb(settings_summary(settings, logdir.parent.name), step=0)

  def images(self, images: images_lib.FederatedImages) -> None:
    """Shows test images, an even selection, in full contrast."""
    test = images.test.examples
    chosen = np.linspace(0, len(test) - 1, min(_SHOWN_IMAGES, len(test))).astype(int)
    if not len(chosen):
      return
    shown = np.asarray(test.x[chosen], np.float32)
    if shown.ndim != 4 or shown.shape[-1] not in (1, 3):
      return
    low, high = shown.min(), shown.max()
    with self._writer.as_default(0):
      tf.summary.image('test images', (shown - low) / max(high - low, 1e-9), max_outputs=_SHOWN_IMAGES)

  def clients(self, evaluated: Mapping[str, Any], round_num: int) -> None:
    """Shows the spread of the metric over clients, each measured on its own test images."""
    spread = evaluated.get('per_client') or {}
    values = [value for value in spread.get('accuracies') or () if isinstance(value, float) and np.isfinite(value)]
    if values:
      with self._writer.as_default(round_num):
        tf.summary.histogram(f'clients/{spread.get("metric", "accuracy")}', values)
      self._writer.flush()

  def close(self) -> None:
    """Writes what is left."""
    self._writer.close()
