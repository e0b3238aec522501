"""Classifies or scores image files, or compares them with each other, with the model that a run exported.

    python -m pipelines.predict --run_dir=runs/fashion shoe.png bag.jpg

Takes PNG, JPEG, GIF, BMP, WebP and TIFF of any size, grey or colour; prints the likeliest classes of each with
probabilities; of task=regression, the number; of task=anomaly, each
image's score and how many good test images have a lower one; of task=embedding,
how alike the images are. --json=FILE receives `predictions`: by file, probabilities by class, `number`, `score`, or
the `embedding`.
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
  told = {'anomaly': _scores, 'embedding': _likeness, 'regression': _numbers}
  predictions = told.get(model.task, _classes)(model, paths)
  if program_flags.json_file() is not None:
    json_file.write(program_flags.json_file(), {'predictions': predictions})


def _classes(model, paths):
  predictions = {path: dict(zip(model.class_names, model.predict_file(path).tolist(), strict=True)) for path in paths}
  for path, probabilities in predictions.items():
    likeliest = sorted(probabilities.items(), key=lambda item: -item[1])[:_TOP.value]
    print(f'{path}: ' + ', '.join(f'{name} {probability:.4f}' for name, probability in likeliest))
  return predictions


def _scores(model, paths):
  """Prints the score of each image, and how many percent of the good test images have a lower one."""
  predictions = {path: {'score': float(model.outputs(path)[1])} for path in paths}
  good = model.facts.get('good_scores')
  for path, found in predictions.items():
    below = ''
    if good:
      below = f', higher than of {sum(score < found["score"] for score in good[1:])} % of good test images'
    print(f'{path}: score {found["score"]:.4g}{below}')
  return predictions


def _numbers(model, paths):
  """Prints the number of each image, and how far most answers on test images were from the truth."""
  predictions = {path: {'number': float(model.outputs(path)[0])} for path in paths}
  errors = model.facts.get('absolute_errors')
  for path, found in predictions.items():
    near = f', of test images 90 % were within {errors[90]:.4g}' if errors else ''
    print(f'{path}: {model.class_names[0]} {found["number"]:.5g}{near}')
  return predictions


def _likeness(model, paths):
  """Prints the cosine similarity of the embedding vectors of every pair of images."""
  vectors = {path: model.outputs(path) for path in paths}
  threshold = model.facts.get('threshold')
  for first, second in itertools.combinations(paths, 2):
    cosine = float(vectors[first] @ vectors[second])
    said = ''
    if threshold is not None:
      said = f', {"alike" if cosine > threshold else "different"} by the threshold {threshold:.4f}'
    print(f'{first} and {second}: cosine {cosine:.4f}{said}')
  return {path: {'embedding': vector.tolist()} for path, vector in vectors.items()}


if __name__ == '__main__':
  launch.launch(main, flag_groups=(program_flags.OUTPUT,), takes_files=True)
