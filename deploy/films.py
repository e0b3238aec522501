"""Writes the films of one generated hospital as its archive would export them: PNG files and a manifest.

    python deploy/films.py NUMBER FOLDER

NUMBER is 0, 1 or 2. For demonstrations: in earnest a site has films of its own.
"""

import csv
import pathlib
import sys

from PIL import Image

from tff_vision import configs
from tff_vision.data import build


def main(number: int, folder: pathlib.Path) -> None:
  found = build.build(configs.DataConfig(dataset='synthetic_chest', partition='natural'), seed=0)
  parts = {'train': found.train.examples(number), 'test': found.test.examples.take(found.test.clients[number])}
  (folder / 'films').mkdir(parents=True)
  with open(folder / 'manifest.csv', 'w', newline='') as file:
    table = csv.writer(file)
    table.writerow(['path', 'label', 'patient', 'split'])
    for split, examples in parts.items():
      for place, (image, label) in enumerate(zip(examples.x, examples.y, strict=True)):
        # Every tenth film of the training part is for choosing the best model. A patient has up to three films.
        own = 'val' if split == 'train' and place // 3 % 10 == 0 else split
        name = f'films/{split}_{place:05d}.png'
        Image.fromarray(image[..., 0]).save(folder / name)
        table.writerow([name, found.class_names[label], f'{split}-{place // 3}', own])


if __name__ == '__main__':
  main(int(sys.argv[1]), pathlib.Path(sys.argv[2]))
