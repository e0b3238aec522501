"""Classifies image files with the model that a run exported.

    python -m pipelines.predict --run_dir=runs/fashion shoe.png bag.jpg

Takes PNG, JPEG, GIF and BMP of any size, grey or colour; prints the likeliest classes of each with probabilities.
"""

import pathlib
from collections.abc import Sequence

from absl import flags

from flags import output_flags
from pipelines import launch
from tff_vision import validate
from tff_vision.program import json_file, run_directory

_RUN_DIR = flags.DEFINE_string('run_dir', None, 'Folder of a finished run.')
_TOP = flags.DEFINE_integer('top', 3, 'How many classes to print for each image.')


def main(paths: Sequence[str]) -> None:
  validate.positive(top=_TOP.value)
  if _RUN_DIR.value is None:
    raise ValueError('run_dir is missing: the folder of a finished run.')
  if not paths:
    raise ValueError('no image is named: python -m pipelines.predict --run_dir=DIR image.png ...')
  for path in paths:
    if not pathlib.Path(path).is_file():
      raise ValueError(f'there is no image file {path!r}.')

  from tff_vision.program import exported
  model = exported.ExportedModel(run_directory.RunDirectory(pathlib.Path(_RUN_DIR.value)))
  predictions = {path: dict(zip(model.class_names, model.predict_file(path).tolist(), strict=True)) for path in paths}
  for path, probabilities in predictions.items():
    likeliest = sorted(probabilities.items(), key=lambda item: -item[1])[:_TOP.value]
    print(f'{path}: ' + ', '.join(f'{name} {probability:.4f}' for name, probability in likeliest))
  if output_flags.JSON.value is not None:
    json_file.write(output_flags.JSON.value, {'predictions': predictions})


if __name__ == '__main__':
  launch.launch(main, flag_modules=(output_flags,), takes_files=True)
