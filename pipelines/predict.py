"""Classifies, scores or segments image files, or compares them with each other, with the model that a run exported.

    python -m pipelines.predict --run_dir=runs/fashion shoe.png bag.jpg

Takes PNG, JPEG, GIF, BMP, WebP and TIFF of any size, grey or colour; prints the likeliest classes of each with
probabilities; of task=anomaly, each image's score and how many good test images have a lower one; of task=embedding,
how alike the images are; of task=segmentation, the share of each class, and writes masks (PNG of class numbers) and
overlays to --masks_dir. --json=FILE receives `predictions`: by file, probabilities by class, `score`, the `embedding`,
or `mask`, `overlay` and `shares`.
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
_MASKS_DIR = flags.DEFINE_string('masks_dir', None, 'Of task=segmentation: where masks and overlays go; unset means '
                                 'masks/ in the folder of the run.')


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
  if model.task == 'classification':
    predictions = _classes(model, paths)
  elif model.task == 'segmentation':
    predictions = _masks(model, paths)
  else:
    predictions = (_scores if model.task == 'anomaly' else _likeness)(model, paths)
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


def _masks(model, paths):
  """Writes a mask and an overlay for each image, and prints the share of each class."""
  from tff_vision.export import mask_pictures
  folder = pathlib.Path(_MASKS_DIR.value or pathlib.Path(_RUN_DIR.value) / 'masks').expanduser()
  predictions, taken = {}, set()
  if endangered := [path for path in paths if pathlib.Path(path).stem.endswith(('_mask', '_overlay'))
                    and pathlib.Path(path).resolve().parent == folder.resolve()]:
    raise ValueError(f'masks_dir={folder} holds {endangered[0]}, which masks or overlays could replace: name another.')
  for path in dict.fromkeys(paths):
    stem = pathlib.Path(path).stem
    name = next(one for one in itertools.chain((stem,), (f'{stem}_{number}' for number in itertools.count(2)))
                if one not in taken)
    taken.add(name)
    mask = mask_pictures.found_in(model, path)
    shares = mask_pictures.shares(mask, model.class_names)
    written = mask_pictures.write(folder, name, path, mask)
    predictions[path] = {'mask': written[0], 'overlay': written[1], 'shares': shares}
    likeliest = sorted(shares.items(), key=lambda item: -item[1])[:_TOP.value]
    print(f'{path}: ' + ', '.join(f'{name} {100 * share:.1f} %' for name, share in likeliest) + f'; {written[0]}')
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
