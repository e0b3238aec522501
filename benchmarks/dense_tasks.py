"""Measures segmentation and detection, federated and on pooled data: Dice and mAP over seeds.

    python -m benchmarks.dense_tasks --tasks=lungs,road --seeds=0,1,2 --json=dense.json
    python -m benchmarks.dense_tasks --tasks=tiles --data=UNPACKED --json=dense.json
    python -m benchmarks.dense_tasks --tasks=cells --data=UNPACKED --json=dense.json

Each cell (task, way, seed) is a run of `pipelines.train` on the task's recipe. The way `pooled` is the same recipe on
one client that has the images of all, with as many epochs, and without the momentum of a server: its model is what the
client returns. What is in the file of --json is not measured again, so that a measurement may be interrupted and
continued.

`tiles` takes the photographs of Huang et al., "Saliency of magnetic tile surface defects", as SPLIT/images,
SPLIT/masks and index.csv (split, name, folder, tile_group, exposure), and deals their groups of photographs out to
three factories: every defect counts as one class. Of photographs without defects, training has two exposures of six.
`cells` takes BCCD's images with COCO files train.json and test.json.
"""

import csv
import hashlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np
from absl import flags

from benchmarks import origin
from flags import program_flags
from pipelines import launch
from tff_vision.program import json_file

_TASKS = flags.DEFINE_list('tasks', ['lungs', 'road', 'tiles', 'cells'], 'Which of lungs, road, tiles and cells.')
_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Seeds, separated by commas.')
_WAYS = flags.DEFINE_list('ways', ['federated', 'pooled'], 'Which of federated and pooled.')
_DATA = flags.DEFINE_string('data', None, 'Folder of the unpacked photographs, of tiles and cells.')
_EXTRA = flags.DEFINE_multi_string('extra', [], 'A further flag of pipelines.train; may be given several times.')

_RECIPES = {'lungs': 'lungs.flags', 'road': 'road_detection.flags', 'tiles': 'magnetic_tiles.flags',
            'cells': 'blood_cells.flags'}
_METRICS = {'lungs': 'dice', 'tiles': 'dice', 'road': 'map', 'cells': 'map'}
_POOLED = ('--partition=iid', '--num_clients=1', '--cohort_size=1')
_OF_SERVER = ('--server_optimizer=', '--server_momentum=')
_FACTORIES = 3
_EXPOSURES = ('1', '4')


def main() -> None:
  if unknown := [*set(_TASKS.value) - set(_RECIPES), *set(_WAYS.value) - {'federated', 'pooled'}]:
    raise ValueError(f'tasks and ways must be of those that --help names, found {unknown[0]!r}.')
  if {'tiles', 'cells'} & set(_TASKS.value) and (_DATA.value is None or not pathlib.Path(_DATA.value).is_dir()):
    raise ValueError(f'data must name the folder of the photographs of tiles or cells, found {_DATA.value!r}.')
  if (out := program_flags.json_file()) is None:
    raise ValueError('json is missing: the file that receives each result.')
  held = json.loads(pathlib.Path(out).read_text()) if pathlib.Path(out).is_file() else {}
  cells = held.get('cells', {})
  with tempfile.TemporaryDirectory() as folder:
    for task in _TASKS.value:
      data = _data_of(task, pathlib.Path(folder))
      for seed in _SEEDS.value:
        for way in _WAYS.value:
          name = ' '.join((task, way, seed, *_EXTRA.value))
          if name not in cells:
            cells[name] = _run(task, way, seed, data)
            json_file.write(out, {**_origin(), 'cells': cells, 'summary': summary(cells)})
            print(f'{name}: {cells[name]}')
  print(json.dumps(summary(cells), indent=2))


def summary(cells: Mapping[str, Mapping]) -> dict[str, dict]:
  """Returns, by task, way and further flags, mean and standard deviation (n - 1) of each number over the seeds."""
  groups: dict[str, list[Mapping]] = {}
  for name, cell in cells.items():
    task, way, _, *extra = name.split(' ')
    groups.setdefault(' '.join((task, way, *extra)), []).append(cell)
  made = {}
  for name, found in groups.items():
    made[name] = {'seeds': len(found)}
    for number in sorted(set.intersection(*map(set, found))):
      values = [cell[number] for cell in found if cell[number] is not None]
      if len(values) == len(found):
        made[name][number] = {'mean': statistics.mean(values),
                              'sd': origin.deviation(values) if len(values) > 1 else None}
  return made


def _origin():
  return {'commit': origin.commit(),
          'machine': origin.machine()}


def _run(task, way, seed, data):
  with tempfile.TemporaryDirectory() as folder:
    numbers, recipe = pathlib.Path(folder) / 'numbers.json', pathlib.Path('pipelines/recipes') / _RECIPES[task]
    if way == 'pooled':
      lines = recipe.read_text().splitlines()
      recipe = pathlib.Path(folder) / 'pooled.flags'
      recipe.write_text('\n'.join([*(line for line in lines if not line.startswith(_OF_SERVER)), *_POOLED]))
    subprocess.run([
        sys.executable, '-m', 'pipelines.train', f'--flagfile={recipe}', *data, *_EXTRA.value, f'--seed={seed}',
        f'--run_dir={folder}/run', f'--json={numbers}'], stdout=subprocess.DEVNULL, check=True)
    report = json.loads(numbers.read_text())
  found, metric = report['evaluation'], _METRICS[task]
  more = {'map_50': found.get('map_50')} if metric == 'map' else {}
  return {metric: found[metric], **more, 'worst_client': report['per_client'].get('worst'),
          'train_seconds': report['seconds']['train']}


def _data_of(task, folder):
  if task == 'cells':
    return [f'--data_dir={_DATA.value}']
  return [f'--data_dir={factories(pathlib.Path(_DATA.value), folder / "tiles")}'] if task == 'tiles' else []


def factories(source: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
  """Lays the photographs of tiles out as SPLIT/FACTORY/images and masks of 0 and 255; returns the folder."""
  from PIL import Image
  with open(source / 'index.csv') as file:
    rows = list(csv.DictReader(file))
  factory_of = _dealt(rows)
  for row in rows:
    if row['split'] == 'train' and row['folder'] == 'free' and row['exposure'] not in _EXPOSURES:
      continue
    target = out / row['split'] / f'factory_{factory_of[row["tile_group"]]}'
    for name in ('images', 'masks'):
      (target / name).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / row['split'] / 'images' / f'{row["name"]}.jpg', target / 'images' / f'{row["name"]}.jpg')
    mask = np.asarray(Image.open(source / row['split'] / 'masks' / f'{row["name"]}.png'))
    Image.fromarray(((mask > 0) * 255).astype(np.uint8)).save(target / 'masks' / f'{row["name"]}.png')
  (out / 'classes.txt').write_text('background\ndefect\n')
  return out


def _dealt(rows: Sequence[Mapping[str, str]]) -> dict[str, int]:
  """Returns the factory of each group: those of each split and rarest kind in turn, in an order that names fix."""
  counts = {kind: sum(row['folder'] == kind for row in rows) for kind in {row['folder'] for row in rows}}
  kinds = {}
  for row in sorted(rows, key=lambda row: -counts[row['folder']]):
    kinds[row['tile_group']] = row['split'], row['folder']
  order = sorted(kinds, key=lambda group: (kinds[group], hashlib.sha1(group.encode()).hexdigest()))
  return {group: place % _FACTORIES + 1 for place, group in enumerate(order)}


if __name__ == '__main__':
  os.chdir(pathlib.Path(__file__).parent.parent)
  launch.launch(main, flag_groups=(program_flags.OUTPUT,))
