"""Flags of `DataConfig` about preprocessing images."""

from absl import flags

from tff_vision import configs
from tff_vision.configs import data_config

_DEFAULTS = configs.DataConfig()

flags.DEFINE_enum('preprocess', _DEFAULTS.preprocess, data_config.PIXELS,
                  'What is done to pixels after scaling; none: not even scaling; unset: what suits the data set.')
flags.DEFINE_integer('image_size', _DEFAULTS.image_size,
                     'Height and width that images are resized to; of medmnist:*, which of its sizes is read.')
flags.DEFINE_integer('image_channels', _DEFAULTS.image_channels, '1 turns colour to grey, 3 repeats grey.')
flags.DEFINE_integer('crop', _DEFAULTS.crop,
                     'Height and width of a crop, random in training and central in evaluation; 0 for none.')
flags.DEFINE_bool('flip', _DEFAULTS.flip, 'Whether training mirrors every other image.')
flags.DEFINE_string('normal_class', _DEFAULTS.normal_class,
                    'The class that task=anomaly trains on; other training images are left out.')
