"""Describes the clients that a data set and a partition produce. Nothing is trained.

    python -m pipelines.describe_data --dataset=fashion_mnist --partition=dirichlet --partition_alpha=0.1

Prints client counts, sizes, class mix and total variation from IID. With --picture=FILE, draws the class mix of each
client and some images of a few: a page (FILE.html, as report.html has them) or a picture (FILE.png, FILE.pdf, ...).
Flags of pipelines.train are accepted, so that its flagfiles describe their data.
"""

import dataclasses

from absl import flags

from flags import data_flags, experiment_flags, program_flags
from pipelines import launch
from tff_vision.data.sources import installed
from tff_vision.program import json_file

_PICTURE = flags.DEFINE_string('picture', None, 'File to draw: a page (.html) or a picture (.png, .pdf, .svg).')


def main() -> None:
  config = experiment_flags.experiment_config()
  installed.require(config.data)

  from tff_vision.data import build
  from tff_vision.export import model_card
  from tff_vision.report import data_page, data_picture, data_summary
  images = build.build(config.data, seed=config.program.seed)
  counts = data_summary.label_counts(images)
  how = model_card.partition(dataclasses.asdict(config.data))
  title = images.name if how is None else f'{images.name}, partition={how}'
  described = {'partition': how} | data_summary.describe(images, counts, seed=config.program.seed)
  print(title)
  for name, text in data_summary.table(described):
    print(f'{name:>26}  {text}')
  if _PICTURE.value:
    if _PICTURE.value.lower().endswith('.html'):
      data_page.write_html(_PICTURE.value, images, described, title=title)
    else:
      data_picture.save(_PICTURE.value, images, title=title)
    print(f'{"picture":>26}  {_PICTURE.value}')
  if program_flags.json_file() is not None:
    json_file.write(program_flags.json_file(), described)


if __name__ == '__main__':
  launch.launch(main, flag_groups=experiment_flags.GROUPS, shown=(*data_flags.IMAGE_GROUPS, program_flags.OUTPUT))
