"""Flags of `DataConfig` about what a user's own files hold."""

from absl import flags

from tff_vision import configs
from tff_vision.configs import data_config

_DEFAULTS = configs.DataConfig()

flags.DEFINE_float('test_fraction', _DEFAULTS.test_fraction,
                   'Share of every class that is held out, of sources without a test set of their own.')
flags.DEFINE_enum('corrupt_images', _DEFAULTS.corrupt_images, data_config.CORRUPT_IMAGES,
                  'Whether an image file that cannot be decoded stops the run or is left out and counted.')
flags.DEFINE_string('pixel_range', _DEFAULTS.pixel_range,
                    'BLACK,WHITE: the stored values that are black and white; not given, what type and values tell.')
flags.DEFINE_enum('label_case', _DEFAULTS.label_case, data_config.LABEL_CASE,
                  'Classes whose names differ in case only are refused, made one, or left apart.')
flags.DEFINE_string('finding_separator', _DEFAULTS.finding_separator,
                    'Stands between findings in one label; empty: labels are classes; not given: | does, if there.')
