"""Replaces BatchNorm by GroupNorm in a Keras file, so that clients can train it, and prints each change.

    python -m pipelines.convert_model --model=resnet50.keras --output=resnet50_gn.keras
    python -m pipelines.train --model=keras_file --initial_model=resnet50_gn.keras --frozen_layers='conv1*,conv2*'

Scale and shift of each layer go along, its moving statistics cannot: the converted model must be trained again before
it is accurate. --json=FILE receives `changes`: a list of layer, channels, groups, carried, dropped.
"""

import dataclasses
import pathlib

from absl import flags

from flags import program_flags
from pipelines import launch
from tff_vision.program import json_file

_MODEL = flags.DEFINE_string('model', None, 'Keras file to read, .keras or .h5.')
_IMPORT = flags.DEFINE_string('import', None, 'Python file or module that defines layers of the model that are none of '
                              'Keras\'s own.')
_OUTPUT = flags.DEFINE_string('output', None, 'File to write, .keras; one that is there already is kept.')


def main() -> None:
  for name, value in (('model', _MODEL.value), ('output', _OUTPUT.value)):
    if value is None:
      raise ValueError(f'{name} is missing: a Keras file.')
  output = pathlib.Path(_OUTPUT.value)
  if output.suffix != '.keras':
    raise ValueError(f'output={_OUTPUT.value} must end in .keras.')
  if output.exists() or not output.parent.is_dir():
    raise ValueError(f'output={_OUTPUT.value} {"is there already" if output.exists() else "lies in no folder"}.')

  from tff_vision.models import convert, keras_files
  made, changes = convert.to_group_norm(keras_files.read(_MODEL.value, _IMPORT.value))
  if not changes:
    raise ValueError(f'{_MODEL.value} has no BatchNormalization layer: there is nothing to convert.')
  made.save(output)
  for change in changes:
    kept = ' and '.join(change.carried) or 'nothing'
    print(f'{change.layer}: BatchNormalization of {change.channels} channels -> GroupNormalization of {change.groups} '
          f'groups; {kept} carried over, {" and ".join(change.dropped)} dropped')
  print(f'{len(changes)} layers replaced. The model computes something else now: it must be trained again before it is '
        'accurate.')
  print(f'model:  {output}')
  if program_flags.json_file() is not None:
    json_file.write(program_flags.json_file(), {'changes': [dataclasses.asdict(change) for change in changes]})


if __name__ == '__main__':
  launch.launch(main, flag_groups=(program_flags.OUTPUT,))
