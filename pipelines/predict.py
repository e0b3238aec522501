"""Classifies, scores or segments image files, or compares them with each other, with the model that a run exported.

    python -m pipelines.predict --run_dir=runs/fashion shoe.png bag.jpg

Takes PNG, JPEG, GIF, BMP, WebP, TIFF, HEIC, AVIF, DICOM and NIfTI of any size, grey or colour; of a file with several
pages, frames or slices, each is an image, FILE[number]. Prints the likeliest classes of each with probabilities; of
task=regression, the number; of task=anomaly, each image's score and how many good test images have a lower one; of
task=embedding, how alike the images are; of task=segmentation, the share of each class, and writes masks (PNG of class
numbers; of several pages TIFF, of a volume NIfTI) and overlays to --masks_dir; of task=detection, the number of objects
of each class, and draws their boxes to --boxes_dir. --json=FILE receives `predictions`: by image, probabilities by
class, `number`, `score`, the `embedding`, `mask`, `overlay` and `shares`, or `picture` and `boxes`: class, score, and
left, top, right and bottom in pixels of the file.
"""

import collections
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
_BOXES_DIR = flags.DEFINE_string('boxes_dir', None, 'Of task=detection: where images with their boxes go; unset means '
                                 'boxes/ in the folder of the run.')
_LEAST_SCORE = flags.DEFINE_float('least_score', 0.3, 'Of task=detection: boxes with a lower score are left out.')


def main(paths: Sequence[str]) -> None:
  validate.positive(top=_TOP.value)
  validate.fraction(least_score=_LEAST_SCORE.value)
  if _RUN_DIR.value is None:
    raise ValueError('run_dir is missing: the folder of a finished run.')
  if not paths:
    raise ValueError('no image is named: python -m pipelines.predict --run_dir=DIR image.png ...')
  for path in paths:
    if not pathlib.Path(path).is_file():
      raise ValueError(f'there is no image file {path!r}.')

  from tff_vision.export import exported
  from tff_vision.runtime.device import visible
  visible.claim()
  model = exported.ExportedModel(run_directory.RunDirectory(pathlib.Path(_RUN_DIR.value)))
  answers = {'segmentation': _masks, 'anomaly': _scores, 'detection': _boxes, 'embedding': _likeness,
             'regression': _numbers}
  answer = answers.get(model.task, _classes)
  for name, readers in {'top': (_classes, _masks), 'masks_dir': (_masks,), 'boxes_dir': (_boxes,),
                        'least_score': (_boxes,)}.items():
    if flags.FLAGS[name].present and answer not in readers:
      raise ValueError(f'{name}={flags.FLAGS[name].value} has no effect with task={model.task}.')
  predictions = answer(model, paths)
  if program_flags.json_file() is not None:
    json_file.write(program_flags.json_file(), {'predictions': predictions})


def _outputs(model, paths):
  """Returns the outputs for each image in the files, by its name."""
  return {name: found for path in paths for name, found in model.all_outputs(path).items()}


def _classes(model, paths):
  predictions = {name: dict(zip(model.class_names, model.probabilities(found).tolist(), strict=True))
                 for name, found in _outputs(model, paths).items()}
  for path, probabilities in predictions.items():
    likeliest = sorted(probabilities.items(), key=lambda item: -item[1])[:_TOP.value]
    print(f'{path}: ' + ', '.join(f'{name} {probability:.4f}' for name, probability in likeliest))
  return predictions


def _scores(model, paths):
  """Prints the score of each image, and how many percent of the good test images have a lower one."""
  predictions = {name: {'score': float(found[1])} for name, found in _outputs(model, paths).items()}
  good = model.facts.get('good_scores')
  for path, found in predictions.items():
    below = ''
    if good:
      below = f', higher than of {sum(score < found["score"] for score in good[1:])} % of good test images'
    print(f'{path}: score {found["score"]:.4g}{below}')
  return predictions


def _numbers(model, paths):
  """Prints the number of each image, and how far most answers on test images were from the truth."""
  predictions = {name: {'number': float(found[0])} for name, found in _outputs(model, paths).items()}
  errors = model.facts.get('absolute_errors')
  for path, found in predictions.items():
    near = f', of test images 90 % were within {errors[90]:.4g}' if errors else ''
    print(f'{path}: {model.class_names[0]} {found["number"]:.5g}{near}')
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
    stem = pathlib.Path(path).name.removesuffix('.gz').rpartition('.')[0] or pathlib.Path(path).name
    name = next(one for one in itertools.chain((stem,), (f'{stem}_{number}' for number in itertools.count(2)))
                if one not in taken)
    taken.add(name)
    opened = model.opened(path)
    mask = mask_pictures.found_in(model, opened)
    shares = mask_pictures.shares(mask, model.class_names)
    written = mask_pictures.write(folder, name, opened, mask, model.slice_axis)
    predictions[path] = {'mask': written[0], 'overlay': written[1], 'shares': shares}
    likeliest = sorted(shares.items(), key=lambda item: -item[1])[:_TOP.value]
    print(f'{path}: ' + ', '.join(f'{name} {100 * share:.1f} %' for name, share in likeliest) + f'; {written[0]}')
  return predictions


def _likeness(model, paths):
  """Prints the cosine similarity of the embedding vectors of every pair of images."""
  vectors = _outputs(model, paths)
  if len(vectors) < 2 and program_flags.json_file() is None:
    raise ValueError(f'task=embedding compares images, and {paths[0]} is one: name more, or have its vector written '
                     'with --json=FILE.')
  threshold = model.facts.get('threshold')
  for first, second in itertools.combinations(vectors, 2):
    cosine = float(vectors[first] @ vectors[second])
    said = ''
    if threshold is not None:
      said = f', {"alike" if cosine > threshold else "different"} by the threshold {threshold:.4f}'
    print(f'{first} and {second}: cosine {cosine:.4f}{said}')
  return {path: {'embedding': vector.tolist()} for path, vector in vectors.items()}


def _boxes(model, paths):
  """Prints the number of objects of each class in each image, and draws their boxes."""
  from tff_vision.export import mask_pictures
  from tff_vision.report import box_drawing
  names, predictions = list(map(str, model.class_names)), {}
  folder = pathlib.Path(_BOXES_DIR.value or pathlib.Path(_RUN_DIR.value) / 'boxes').expanduser()
  pictures = _pictures(list(dict.fromkeys(paths)), folder)
  for path, picture in pictures.items():
    pixels = mask_pictures.shown(model.opened(path).native(0))
    height, width = pixels.shape[:2]
    found = box_drawing.boxes_of(model.boxes(path), 0, _LEAST_SCORE.value)
    box_drawing.write(picture, box_drawing.drawn(pixels, found, names))
    predictions[path] = {'picture': str(picture), 'boxes': [
        {'class': names[one['number']], 'score': one['score'], 'box': [
            one['edges'][1] * width, one['edges'][0] * height, one['edges'][3] * width, one['edges'][2] * height]}
        for one in found]}
    counts = collections.Counter(names[one['number']] for one in found)
    said = ', '.join(f'{number} {name}' for name, number in counts.most_common()) or 'no object'
    print(f'{path}: {said}; {picture}')
  return predictions


def _pictures(paths, folder):
  """Returns the file for the picture of each image: named like it, with a number if several images have its name."""
  stems = collections.Counter(pathlib.Path(path).stem for path in paths)
  taken, found = {stem for stem, number in stems.items() if number == 1}, {}
  for path in paths:
    stem = pathlib.Path(path).stem
    name = stem if stems[stem] == 1 else next(
        one for one in (f'{stem}_{number}' for number in itertools.count(1)) if one not in taken)
    taken.add(name)
    found[path] = folder / f'{name}_boxes.png'
    if any(pathlib.Path(other).resolve() == found[path].resolve() for other in paths):
      raise ValueError(f'boxes_dir={folder} holds {found[path].name}, which a picture would replace: name another '
                       'folder.')
  return found


if __name__ == '__main__':
  launch.launch(main, flag_groups=(program_flags.OUTPUT,), takes_files=True)
