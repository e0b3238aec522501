"""Surveys the training images of a plan's sites before anything is trained: labels, intensities, counts, as sums.

    python -m pipelines.survey --plan=plan.json --out=survey

Writes survey.html, survey.json, and survey.flags with the mean and deviation of pixels, which
`python -m pipelines.plan --preprocess=standardize --flagfile=survey.flags ...` reads.
"""

import os

from absl import flags

from flags import federation_flags, runtime_flags
from pipelines import launch
from tff_vision import wording
from tff_vision.configs import validate

_OUT = flags.DEFINE_string('out', 'survey', 'The files to write, without their ending.')
_NOISE = flags.DEFINE_float(
    'survey_noise_multiplier', None, 'Noise on every sum, over its sensitivity to one image; unset: sums are exact.')
_DELTA = flags.DEFINE_float('survey_delta', 1e-6, 'Delta at which the epsilon of the noise is stated.')


def main() -> None:
  path = federation_flags.plan_file()
  if path is None:
    raise ValueError('plan is missing: the file that python -m pipelines.plan makes.')
  runtime, _ = federation_flags.of_plan(path)
  if not os.path.basename(_OUT.value):
    raise ValueError(f'out={_OUT.value!r} names no file: what is written is called so, with .html, .json and .flags.')
  validate.writable_file(out=f'{_OUT.value}.html')
  if _NOISE.value is None and flags.FLAGS['survey_delta'].present:
    raise ValueError(f'survey_delta={_DELTA.value:g} has no effect without survey_noise_multiplier.')
  from tff_vision.federation import plan as plan_lib
  plan = plan_lib.read(path)

  from tff_vision.federation import survey_page, surveying  # Imported late: TensorFlow takes seconds.
  from tff_vision.program import json_file, whole_file
  from tff_vision.runtime.driver import runtimes
  noise = None if _NOISE.value is None else surveying.Noise(multiplier=_NOISE.value, delta=_DELTA.value)
  with runtimes.open_runtime(runtime) as place:
    found = surveying.survey(plan, place, folder=runtime.worker_data_dir, noise=noise)
  survey_page.write_html(f'{_OUT.value}.html', found)
  json_file.write(f'{_OUT.value}.json', found)
  whole_file.write(f'{_OUT.value}.flags', surveying.constants(found))
  print(f'{wording.counted(found["examples"], "training image")} of '
        f'{wording.counted(found["clients"], "client")}: {_OUT.value}.html')
  if noise is not None:
    print(f'privacy: epsilon {wording.at_most(noise.epsilon)} at '
          f'delta {wording.at_most(noise.delta, ".3g")} for one image added or removed')
  for warning in survey_page.warnings(found):
    print(f'warning: {warning}')


if __name__ == '__main__':
  launch.launch(main, flag_groups=(*federation_flags.PLAN, *runtime_flags.GROUPS))
