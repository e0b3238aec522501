"""What a run leaves: its numbers, its model, and files for deployment."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tff_vision.accounting import ledger as ledger_lib
from tff_vision.configs import validate
from tff_vision.experiment import definition
from tff_vision.export import calibration_images, exported, model_card
from tff_vision.export import formats as formats_lib
from tff_vision.program import final_state, run_directory

FORMATS = ('keras', 'saved_model', 'tflite')  # The default, if the caller names no format.


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunResult:
  """A finished or interrupted run.

  Attributes:
    report: The content of report.json; None if the run was interrupted.
    rounds: The number of rounds that are finished.
    experiment: The experiment that was run.
  """
  directory: run_directory.RunDirectory
  report: Mapping[str, Any] | None
  rounds: int
  experiment: definition.Definition = dataclasses.field(repr=False)

  @property
  def evaluation(self) -> Mapping[str, Any]:
    """The final model's metrics on the test set; empty if the run was interrupted."""
    return {} if self.report is None else self.report['evaluation']

  @property
  def ledger(self) -> ledger_lib.Statement | None:
    """The privacy cost of the run, with every condition of epsilon; None if the run was interrupted."""
    return None if self.report is None else ledger_lib.of_report(self.report)

  @property
  def model(self) -> tf.keras.Model:
    """The final model: takes images as they are stored, float32 [batch, height, width, channels]; returns logits.

    Raises:
      ValueError: The run was interrupted, so there is no final model.
    """
    self._finished()
    return tf.keras.models.load_model(self.directory.export / 'model.keras', compile=False)

  def evaluate(self) -> Mapping[str, Any]:
    """Evaluates the exported model again: on the test set, per client, and on clients that never trained.

    Raises:
      ValueError: The run was interrupted, its data have changed, or its exported model cannot be read.

    Returns:
      The keys of report.json: `evaluation`, `per_client`, and `unseen`, which holds both for clients that never
      trained, or None if there are no such clients.
    """
    self._finished()
    self.directory.check_data(self.experiment.fingerprint)
    images = self.experiment.images
    evaluator = exported.ExportedModel(self.directory).evaluator(
        self.experiment.objective, moves=images.preprocessing)
    return {**evaluator.evaluate(images.test),
            'unseen': None if images.unseen is None else evaluator.evaluate(images.unseen)}

  def export(self, *formats: str, folder: str | os.PathLike[str] | None = None,
             calibration_dir: str | os.PathLike[str] | None = None,
             about: model_card.About | None = None) -> Mapping[str, Any]:
    """Writes the model for deployment, with a model card.

    Args:
      formats: Some of `keras`, `saved_model`, `tflite`, `tflite_int8`, `onnx`, `hub`; if none is given: the first
        three.
      folder: The folder to create; None: `deployment` in the run's folder.
      calibration_dir: A folder of image files on which tflite_int8 measures the ranges of activations; None: the test
        images.
      about: Owner, licence and intended use, for the model card.

    Raises:
      ValueError: A format is unknown, the folder exists, or the run was interrupted.

    Returns:
      The model card's numbers.
    """
    chosen = list(dict.fromkeys(formats)) or list(FORMATS)
    for name in chosen:
      validate.one_of(formats_lib.FORMATS, format=name)
    if calibration_dir is not None and 'tflite_int8' not in chosen:
      raise ValueError(f'calibration_dir={str(calibration_dir)!r} is read by the format tflite_int8 only.')
    formats_lib.check(chosen)
    self._finished()
    target = pathlib.Path(folder) if folder is not None else self.directory.path / 'deployment'
    if target.exists():
      raise ValueError(f'folder={str(target)!r} exists already.')
    problem, ranges = self.experiment.problem, None
    self.directory.check_data(self.experiment.fingerprint)
    weights = final_state.read_weights(self.directory, problem.keras_model())
    if 'tflite_int8' in chosen:
      ranges = (calibration_images.from_test_images(problem, calibration_images.IMAGES) if calibration_dir is None else
                calibration_images.from_folder(problem, pathlib.Path(calibration_dir), calibration_images.IMAGES))
    return formats_lib.deploy(problem, weights, target, report=self.directory.read_report(), formats=chosen,
                              calibration=ranges, about=about)

  def _finished(self):
    if self.report is None:
      raise ValueError(f'the run in {self.directory.path} was interrupted after round {self.rounds}: run it on first.')
