"""Data sets, and how their examples become clients."""

import dataclasses

from tff_vision.catalogue import medmnist
from tff_vision.catalogue.rows import How, Kind, Limit, Row

_SOURCES = 'tff_vision.data.sources'
_MADE = 'tff_vision.data.generators'
_OWN_FILES = ('pixel_range',)
_UNDIVIDED = ('test_fraction',)  # May lack a test set.
_ENCODED = (*_OWN_FILES, *_UNDIVIDED, 'corrupt_images', 'slice_axis')  # Image files of any format.
_OWN_TEXTS = ('label_case', 'finding_separator')
_OWN_NUMBERS = ('target',)
_BOXES = (*_OWN_FILES, *_UNDIVIDED, 'corrupt_images', 'max_boxes')
_OWN_MASKS = ('ignore_index',)
_COLUMNS = ('label_column', 'client_column')


@dataclasses.dataclass(frozen=True)
class DataSet(Row):
  """A data set; `loads` reads all of it and downloads it if necessary.

  Attributes:
    comes_from: The origin of its files, for a table.
    locates: `module:attribute` of a function that takes `data_dir` and says, without network or TensorFlow, whether the
      data is on this machine, and where it is or how to get it.
    argument: The first argument of both functions; empty: no such argument.
  """
  _: dataclasses.KW_ONLY
  comes_from: str = ''
  locates: str = ''
  argument: str = ''


def _set(name, about, comes_from, module, load, locate, **more):
  return DataSet(name, about, comes_from=comes_from, loads=f'{module}:{load}', locates=f'{module}:{locate}', **more)


def _generated(name, about, module, load='load'):
  return DataSet(name, about, comes_from='drawn once, then cached', loads=f'{_MADE}.{module}:{load}',
                 locates=f'{_MADE}.cache:locate')


def _medical(flag, facts):
  what = 'findings' if facts.multi_label else 'classes'
  return DataSet(f'medmnist:{flag}',
                 f'{sum(facts.images):,} medical images of 28x28x{facts.channels} to 224x224x{facts.channels}, '
                 f'{len(facts.class_names)} {what}, {facts.licence}', comes_from='zenodo.org/records/10519652',
                 loads=f'{_SOURCES}.medmnist:load', locates=f'{_SOURCES}.medmnist:locate', argument=flag)


_SITES_DECIDE = 'the sites of a plan have their clients and their examples'
_AT_SITES = (
    Limit('data_placement', 'no image is here', ('worker',), How.NEEDS),
    *(Limit(field, _SITES_DECIDE, how=How.UNREAD) for field in (
        'partition', 'num_clients', 'held_out_clients', 'client_test_fraction', 'client_validation_fraction',
        'client_shift')))
_IDX = 'IDX files, Keras\'s cache, TFDS'
DATA_SETS = Kind.of('dataset', (
    _set('cifar10', '60,000 photographs of 32x32x3, 10 classes, no clients of its own',
         'Keras\'s `cifar-10-batches-py`, TFDS', f'{_SOURCES}.cifar', 'load_cifar10', 'locate_cifar10'),
    _set('cifar100', '60,000 photographs of 32x32x3, 100 classes; 500 clients with partition=natural',
         'TFF\'s SQLite; other partitions: `cifar-100-python`, TFDS', f'{_SOURCES}.cifar', 'load_cifar100',
         'locate_cifar100'),
    _set('coco', 'your own images with boxes in the format of COCO: --data_dir', '`data_dir`', f'{_SOURCES}.coco',
         'load', 'locate', reads=_BOXES),
    _set('digits', '1,797 handwritten digits of 8x8, 10 classes, no clients of its own',
         'scikit-learn, always available', f'{_SOURCES}.embedded', 'load', 'locate', reads=_UNDIVIDED),
    _set('emnist', 'handwritten characters of 28x28 by 3,400 writers, 62 classes', 'TFF\'s SQLite',
         f'{_SOURCES}.tff_sets', 'load_emnist', 'locate_emnist'),
    _set('emnist_balanced', '131,600 handwritten characters of 28x28, 47 classes, no clients of its own', 'TFDS',
         f'{_SOURCES}.mnist_like', 'load_emnist_balanced', 'locate_emnist_balanced'),
    _set('emnist_digits', 'handwritten digits of 28x28 by 3,383 writers, 10 classes', 'TFF\'s SQLite',
         f'{_SOURCES}.tff_sets', 'load_emnist_digits', 'locate_emnist'),
    _set('fashion_mnist', '70,000 articles of clothing of 28x28, 10 classes, no clients of its own',
         f'Debian\'s `dataset-fashion-mnist`, {_IDX}', f'{_SOURCES}.mnist_like', 'load_fashion_mnist',
         'locate_fashion_mnist'),
    _set('folder', 'your own image files, in folders or in a manifest: --data_dir', '`data_dir`',
         f'{_SOURCES}.folders', 'load', 'locate', reads=(
             *_ENCODED, *_OWN_TEXTS, *_OWN_MASKS, *_OWN_NUMBERS, 'client_by', 'volume_depth')),
    _set('idx', 'your own IDX files: --data_dir', '`data_dir`', f'{_SOURCES}.mnist_like', 'load_idx', 'locate_idx',
         reads=_OWN_FILES),
    _set('kmnist', '70,000 cursive Japanese characters of 28x28, 10 classes, no clients of its own', _IDX,
         f'{_SOURCES}.mnist_like', 'load_kmnist', 'locate_kmnist'),
    _set('leaf', 'your own LEAF files, JSON with users: --data_dir', '`data_dir`', f'{_SOURCES}.leaf', 'load', 'locate',
         reads=(*_ENCODED, *_OWN_TEXTS)),
    _set('medical_mnist', '58,954 radiographs of 64x64, 6 classes, no clients of its own: --data_dir',
         'six class folders in `data_dir`', f'{_SOURCES}.folders', 'load_medical_mnist', 'locate_medical_mnist',
         reads=(*_OWN_FILES, *_UNDIVIDED, 'corrupt_images')),
    _set('mnist', '70,000 handwritten digits of 28x28, 10 classes, no clients of its own', _IDX,
         f'{_SOURCES}.mnist_like', 'load_mnist', 'locate_mnist'),
    _set('npz', 'your own arrays in an .npz file: --data_dir', '`data_dir`', f'{_SOURCES}.arrays', 'load', 'locate',
         reads=(*_OWN_FILES, *_UNDIVIDED, 'label_case', *_OWN_MASKS, *_OWN_NUMBERS)),
    _set('parquet', 'your own Parquet files with a column of images, such as those of Hugging Face: --data_dir',
         '`data_dir`', f'{_SOURCES}.parquet', 'load', 'locate',
         reads=(*_ENCODED, *_OWN_TEXTS, 'image_column', *_COLUMNS)),
    DataSet('plan', 'images at the sites of a federation, none of them here: --plan', comes_from='the sites',
            loads='tff_vision.federation.images:load', locates='tff_vision.federation.plan:locate', limits=_AT_SITES),
    _generated('synthetic_chest', '3,700 generated chest films of 28x28 or 64x64 from 3 hospitals, normal or abnormal',
               'chest'),
    _generated('synthetic_chest:findings', 'the same films with 4 findings, multi-label', 'chest', 'load_findings'),
    _generated('synthetic_chest:large', '11,200 such films, normal or abnormal: four times as many for training',
               'chest', 'load_large'),
    _generated('synthetic_chest:lungs', 'the same films with masks of the lungs', 'chest', 'load_lungs'),
    _generated('synthetic_emnist', 'generated handwritten characters of 28x28 by any number of writers, 62 classes',
               'writers'),
    _generated('synthetic_emnist:writers', 'samples of 56x56 in generated hands, whose classes are the writers, at 24 '
               'offices', 'signers'),
    _generated('synthetic_parts', '2,670 generated machined parts of 32x32 from 8 factories, good and with 5 defects',
               'parts'),
    _generated('synthetic_road', '1,080 generated road scenes of 64x64x3 from 6 cameras, with boxes of cars, trucks '
               'and signs', 'road'),
    _generated('synthetic_road:masks', 'the same scenes with masks of 5 classes', 'road', 'load_masks'),
    _generated('synthetic_parts:masks', '2,670 such parts, about half with a defect, and masks that show where it is',
               'parts', 'load_masks'),
    _generated('synthetic_shapes', '7,000 generated colour shapes of 32x32x3, 10 classes, no clients of its own',
               'shapes'),
    _generated('synthetic_shapes:size', 'the same shapes with their diameter in pixels as a number', 'shapes',
               'load_sizes'),
    _set('voc', 'your own images with boxes in the format of Pascal VOC: --data_dir', '`data_dir`', f'{_SOURCES}.voc',
         'load', 'locate', reads=(*_BOXES, 'label_case')),
    _set('webdataset', 'your own WebDataset shards, tar files of samples: --data_dir', '`data_dir`',
         f'{_SOURCES}.webdataset', 'load', 'locate', reads=(*_ENCODED, *_OWN_TEXTS, *_COLUMNS)),
    *(_medical(flag, facts) for flag, facts in medmnist.SETS.items()),
), own=Row('', reads=(  # A function of the user's own is given all settings of the data.
    *_ENCODED, *_BOXES, *_OWN_TEXTS, *_OWN_NUMBERS, *_OWN_MASKS, *_COLUMNS, 'image_column', 'client_by',
    'volume_depth')))


@dataclasses.dataclass(frozen=True)
class Partition(Row):
  """How examples become clients.

  Attributes:
    after: The paper that the partition follows.
  """
  _: dataclasses.KW_ONLY
  after: str = ''


_RANGES = ('shift_rotation', 'shift_contrast', 'shift_noise', 'shift_gamma', 'shift_blur', 'shift_brightness')


def _scheme(name, about, after, *reads):
  return Partition(name, about, after=after, reads=reads, loads=f'tff_vision.data.partition.{name}:partition')


PARTITIONS = Kind.of('partition', (
    Partition('natural', 'the examples of its writer, hospital or folder',
              loads='tff_vision.data.partition.natural:by_owner', reads=('client_by', 'client_column')),
    _scheme('iid', 'a random sample; sizes differ by one at most', 'McMahan et al. 2017'),
    _scheme('dirichlet', 'of each class a share drawn from Dir(alpha) over the clients; sizes differ too',
            'Yurochkin et al. 2019, NIID-Bench', 'partition_alpha', 'min_client_examples'),
    _scheme('dirichlet_equal', 'equally many examples, by a class mix of its own from Dir(alpha)',
            'Hsu, Qi and Brown 2019', 'partition_alpha'),
    _scheme('label_quantity', 'k classes, each shared evenly among its clients', 'NIID-Bench', 'classes_per_client'),
    _scheme('shards', 'k shards, each of one class', 'McMahan et al. 2017', 'classes_per_client'),
    _scheme('quantity', 'the same mix as all, but sizes are log-normal or Dirichlet', 'NIID-Bench',
            'quantity_distribution', 'quantity_sigma', 'partition_alpha', 'min_client_examples'),
    _scheme('pachinko', 'examples of few superclasses, and of these most classes',
            'Li and McCallum 2006, Reddi et al. 2021', 'pachinko_coarse_alpha', 'pachinko_fine_alpha'),
    Partition('feature_shift', 'a random sample, changed as by its own device', after='the «different scanner»',
              reads=_RANGES, limits=(Limit('client_shift', 'it gives each client a device already'),),
              loads='tff_vision.data.partition.feature_shift:partition'),
))
CLIENT_SHIFTS = Kind.of('client_shift', (
    Row('none', 'all clients see images as they are stored'),
    Row('device', 'each client has a device of its own, drawn from the ranges shift_*', reads=_RANGES,
        loads='tff_vision.data.partition.client_shift:drawn'),
    Row('scanners', 'client k has scanner k modulo 4: as stored; dark and noisy; bright and soft; hard',
        loads='tff_vision.data.partition.client_shift:scanner'),
))
QUANTITY_DISTRIBUTIONS = Kind.of('quantity_distribution', (
    Row('lognormal', 'sizes are in proportion to log-normal draws', reads=('quantity_sigma',)),
    Row('dirichlet', 'sizes are one Dirichlet draw', reads=('partition_alpha',)),
))
