"""Classifies or scores image files, or compares them with each other, with the model that a run exported.

    python -m pipelines.predict --run_dir=runs/fashion shoe.png bag.jpg

Takes PNG, JPEG, GIF, BMP, WebP, TIFF, HEIC, DICOM and NIfTI of any size, grey or colour; of a file with several pages,
frames or slices, each is an image, FILE[number]. Prints the likeliest classes of each with probabilities; of
task=anomaly, each image's score and how many good test images have a lower one; of task=embedding, how alike the images
are. --json=FILE receives `predictions`: by image, probabilities by class, `score`, or the `embedding`.
"""

import itertools
import pathlib
from collections.abc import Sequence

from absl import flags

from flags import program_flags
from pipelines import launch
from tff_vision.configs import validate
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

  from tff_vision.export import exported
  model = exported.ExportedModel(run_directory.RunDirectory(pathlib.Path(_RUN_DIR.value)))
  outputs = {name: found for path in paths for name, found in model.all_outputs(path).items()}
  if model.task == 'classification':
    predictions = _classes(model, outputs)
  else:
    predictions = (_scores if model.task == 'anomaly' else _likeness)(model, outputs)
  if program_flags.json_file() is not None:
    json_file.write(program_flags.json_file(), {'predictions': predictions})


def _classes(model, outputs):
  predictions = {path: dict(zip(model.class_names, model.probabilities(found).tolist(), strict=True))
                 for path, found in outputs.items()}
  for path, probabilities in predictions.items():
    likeliest = sorted(probabilities.items(), key=lambda item: -item[1])[:_TOP.value]
    print(f'{path}: ' + ', '.join(f'{name} {probability:.4f}' for name, probability in likeliest))
  return predictions


def _scores(model, outputs):
  """Prints the score of each image, and how many percent of the good test images have a lower one."""
  predictions = {path: {'score': float(found[1])} for path, found in outputs.items()}
  good = model.facts.get('good_scores')
  for path, found in predictions.items():
    below = ''
    if good:
      below = f', higher than of {sum(score < found["score"] for score in good[1:])} % of good test images'
    print(f'{path}: score {found["score"]:.4g}{below}')
  return predictions


def _likeness(model, vectors):
  """Prints the cosine similarity of the embedding vectors of every pair of images."""
  threshold = model.facts.get('threshold')
  for first, second in itertools.combinations(vectors, 2):
    cosine = float(vectors[first] @ vectors[second])
    said = ''
    if threshold is not None:
      said = f', {"alike" if cosine > threshold else "different"} by the threshold {threshold:.4f}'
    print(f'{first} and {second}: cosine {cosine:.4f}{said}')
  return {path: {'embedding': vector.tolist()} for path, vector in vectors.items()}


if __name__ == '__main__':
  launch.launch(main, flag_groups=(program_flags.OUTPUT,), takes_files=True)
