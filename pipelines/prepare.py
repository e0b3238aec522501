"""Writes a site's own images as the records that a plan's runs read, and site.json; run at the site.

    python -m pipelines.prepare --plan=plan.json --site=hospital-a --data_dir=/srv/films --out=/srv/prepared

The images are read as --dataset=folder reads them: [split/]class/, [split/]client/class/, or a manifest.csv with
path,label[,client][,split][,patient]. No patient is in two splits, and nothing leaves this machine.
docs/how-to/federation.md leads through the whole.
"""

from absl import flags

from pipelines import launch
from tff_vision.federation import plan as plan_lib

_PLAN = flags.DEFINE_string('plan', 'plan.json', 'The plan, as the coordinator made it.')
_SITE = flags.DEFINE_string('site', None, 'The name of this site in the plan.')
_DATA_DIR = flags.DEFINE_string('data_dir', None, 'Folder with the images of this site.')
_OUT = flags.DEFINE_string('out', 'prepared', 'Folder to write: records and site.json.')
_LABEL_MAP = flags.DEFINE_string('label_map', None, 'CSV file of two columns: a label of this site, and what the plan '
                                 'calls it; an empty second field leaves such images out, or of findings the finding.')
_GROUP_BY = flags.DEFINE_enum('group_by', 'patient', ['patient', 'folder', 'image'], 'What must not be in two splits: '
                              'images of one patient (column of the manifest), of one folder above the class, or '
                              'nothing but the same file.')
_VALIDATION = flags.DEFINE_float('validation_fraction', 0.1, 'Share of the patients whose images are for validation, '
                                 'where the files are not split already.', lower_bound=0, upper_bound=0.9)
_TEST = flags.DEFINE_float('test_fraction', 0.2, 'Share of the patients whose images are for tests, likewise.',
                           lower_bound=0, upper_bound=0.9)
_CORRUPT = flags.DEFINE_enum('corrupt_images', 'refuse', ['refuse', 'skip'], 'Whether an image that cannot be decoded '
                             'stops, or is left out and counted.')
_MISSING = flags.DEFINE_bool('missing_classes', False, 'Whether this site may have no training image of some classes.')


def main() -> None:
  for name in ('site', 'data_dir'):
    if flags.FLAGS[name].value is None:
      raise ValueError(f'{name} is missing.')
  if _VALIDATION.value + _TEST.value >= 1:
    raise ValueError(f'validation_fraction={_VALIDATION.value:g} and test_fraction={_TEST.value:g} leave nothing to '
                     'train on.')
  plan = plan_lib.read(_PLAN.value)
  plan.check_software()
  from tff_vision.federation import preparation  # Imported late: TensorFlow takes seconds, but --help must be fast.
  made = preparation.prepare(plan, preparation.Request(
      site=_SITE.value, data_dir=_DATA_DIR.value, out=_OUT.value, label_map=_LABEL_MAP.value, group_by=_GROUP_BY.value,
      fractions=(_VALIDATION.value, _TEST.value), corrupt_images=_CORRUPT.value, missing_classes=_MISSING.value),
                             say=print)
  print(preparation.described(made, plan.schema.class_names))
  print(f'written: {_OUT.value}')


if __name__ == '__main__':
  launch.launch(main, flag_groups=())
