"""Exports a finished run's model for deployment, with a model card; each file is compared with the federated state.

    python -m pipelines.export --run_dir=runs/fashion
    python -m pipelines.export --run_dir=runs/fashion --format=saved_model,tflite,tflite_int8 --output_dir=served
    python -m pipelines.export --run_dir=runs/fashion --owner='Radiology, North' --licence=CC-BY-4.0 \
        --intended_use='Research on federated training; not for diagnosis'

Preprocessing is inside: models take images as they are stored, in batches of any size; the SavedModel also takes the
content of image files. Starting TensorFlow Serving on it, and TFLite: docs/how-to/deployment.md. The activation ranges
of tflite_int8 are measured on the run's test images, or on yours in --calibration_dir: they leave with the file. What
--format=onnx needs is an optional install, requirements-onnx.txt. --format=hub makes a folder to upload to a model hub.
"""

import pathlib

from absl import flags

from flags import program_flags
from pipelines import launch
from tff_vision import catalogue
from tff_vision.configs import validate
from tff_vision.program import json_file, run_directory

FORMATS = catalogue.names('format')

_RUN_DIR = flags.DEFINE_string('run_dir', None, 'Folder of a finished run.')
_DATA_DIR = flags.DEFINE_string('data_dir', None, 'Where the data of the run lie now, if they were moved.')
_FORMAT = flags.DEFINE_list('format', ['keras', 'saved_model', 'tflite'], f'Some of {", ".join(FORMATS)}.')
_OUTPUT_DIR = flags.DEFINE_string('output_dir', None, 'Folder to make; unset is run_dir/deployment.')
_CALIBRATION_DIR = flags.DEFINE_string(
    'calibration_dir', None, 'Folder of image files that tflite_int8 measures ranges on; unset takes test images.')
_OWNER = flags.DEFINE_string('owner', None, 'Who answers for the model, and where to ask; for the model card.')
_LICENCE = flags.DEFINE_string('licence', None, 'Terms under which others may use the model; for the model card.')
_INTENDED_USE = flags.DEFINE_string('intended_use', None, 'What the model is for, and for whom; for the model card.')


def main() -> None:
  if _RUN_DIR.value is None:
    raise ValueError('run_dir is missing: the folder of a finished run.')
  for name in _FORMAT.value:
    validate.one_of(FORMATS, format=name)
  formats = list(dict.fromkeys(_FORMAT.value))
  if not formats:
    raise ValueError(f'format names nothing; choose from {", ".join(FORMATS)}.')
  if _CALIBRATION_DIR.value is not None and 'tflite_int8' not in formats:
    raise ValueError(f'calibration_dir={_CALIBRATION_DIR.value!r} is read by --format=tflite_int8 only.')
  directory = run_directory.RunDirectory(pathlib.Path(_RUN_DIR.value))
  directory.config_at(_DATA_DIR.value), directory.read_report()  # Raise before TensorFlow is imported.
  folder = pathlib.Path(_OUTPUT_DIR.value or directory.path / 'deployment')
  if folder.exists():
    raise ValueError(f'output_dir={str(folder)!r} exists already.')

  from tff_vision import experiment
  from tff_vision.export import model_card
  run = experiment.open_run(directory.path, data_dir=_DATA_DIR.value)
  card = run.export(*formats, folder=folder, calibration_dir=_CALIBRATION_DIR.value, about=model_card.About(
      owner=_OWNER.value, licence=_LICENCE.value, intended_use=_INTENDED_USE.value))
  if 'tflite_int8' in formats:
    print('note: the ranges of activations in tflite_int8 are measured on '
          f'{card["formats"]["tflite_int8"]["calibration_source"]}; they can be read from the file.')
  for sentence in model_card.coarse(card['formats']):
    print(f'warning: {sentence}')
  for name, parity in card['formats'].items():
    print(f'{name:>12}  {folder / parity["file"]}  {parity["bytes"]:,} bytes; {parity["images"]} test images: largest '
          f'difference of outputs {parity["max_logit_difference"]:.2g}'
          + ('' if parity['same_class'] is None else f', same decision {parity["same_class"]:.3f}'))
  print(f'{"model card":>12}  {folder / "model_card.md"}')
  if program_flags.json_file() is not None:
    json_file.write(program_flags.json_file(), card)


if __name__ == '__main__':
  launch.launch(main, flag_groups=(program_flags.OUTPUT,))
