"""Measures memory and time of image data that are too large to hold: folders of PNG and DICOM, Parquet, tar shards.

    python -m benchmarks.image_files --json=FILE [--files=20000 --side=128]
    python -m benchmarks.image_files --json=FILE --files=100000 --side=16 --layouts=folder

Files are generated here. For each layout a new process builds the data set at 32x32 and reads each client once, which
is one pass over all images; its memory beyond that after the imports is what counts. Held decoded at full size, they
would take `decoded_megabytes`.
"""

import io
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy as np
import pyarrow as pa
import pydicom
from absl import app, flags
from PIL import Image
from pyarrow import parquet
from pydicom import uid

_JSON = flags.DEFINE_string('json', None, 'File that receives the numbers.')
_FILES = flags.DEFINE_integer('files', 20_000, 'Images of each layout.')
_SIDE = flags.DEFINE_integer('side', 128, 'Height and width of an image.')
_LAYOUTS = flags.DEFINE_list('layouts', ['folder', 'dicom', 'parquet', 'webdataset'], 'What is measured.')
_CLASSES, _PICTURES = 2, 50

_READ = """
import resource, sys, time
import numpy as np
import tensorflow as tf
from tff_vision import configs
from tff_vision.data import build
tf.io.decode_image(tf.io.encode_png(np.zeros((4, 4, 3), np.uint8)))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
before, start = peak(), time.perf_counter()
found = build.build(configs.DataConfig(dataset=sys.argv[1], data_dir=sys.argv[2], partition='iid', num_clients=100,
                                       image_size=32), seed=0)
built, number = time.perf_counter(), 0
for client in range(len(found.train)):
  number += len(found.train.examples(client))
print(before, peak(), built - start, time.perf_counter() - built, number + len(found.test.examples))
"""


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f'unknown arguments: {argv[1:]}')
  numbers = {'files': _FILES.value, 'side': _SIDE.value, 'layouts': {}}
  if unknown := set(_LAYOUTS.value) - set(_WRITE):
    raise app.UsageError(f'layouts must be of {", ".join(_WRITE)}, found {", ".join(sorted(unknown))}')
  for layout in _LAYOUTS.value:
    with tempfile.TemporaryDirectory() as folder:
      _WRITE[layout](pathlib.Path(folder))
      numbers['layouts'][layout] = _measured('folder' if layout == 'dicom' else layout, folder)
      channels = 2 if layout == 'dicom' else 3  # Bytes of a pixel.
      numbers['layouts'][layout]['decoded_megabytes'] = round(_FILES.value * _SIDE.value**2 * channels / 1e6)
      print(layout, numbers['layouts'][layout], flush=True)
  if _JSON.value:
    pathlib.Path(_JSON.value).write_text(json.dumps(numbers, indent=2) + '\n')


def _measured(dataset, folder):
  done = subprocess.run([sys.executable, '-c', _READ, dataset, folder], capture_output=True, text=True, check=True)
  before, peak, built, read, images = map(float, done.stdout.split())
  assert images == _FILES.value
  return {'megabytes_more_than_after_imports': round(peak - before), 'build_seconds': round(built, 1),
          'pass_seconds': round(read, 1)}


def _pictures():
  """Returns a few pictures; files repeat them, each with another corner, so that none is a copy."""
  rng = np.random.default_rng(0)
  ramps = np.linspace(0, 200, _SIDE.value)[:, None, None] + np.zeros((_SIDE.value, _SIDE.value, 3))
  return [(ramps + rng.integers(0, 55, (1, _SIDE.value, 3))).astype(np.uint8) for _ in range(_PICTURES)]


def _each():
  pictures = _pictures()
  for number in range(_FILES.value):
    picture = pictures[number % _PICTURES].copy()
    picture[0, :4, 0] = np.frombuffer(number.to_bytes(4, 'little'), np.uint8)
    yield number, picture


def _png(picture):
  out = io.BytesIO()
  Image.fromarray(picture).save(out, 'PNG', compress_level=1)
  return out.getvalue()


def _folder(root):
  for label in range(_CLASSES):
    (root / str(label)).mkdir()
  for number, picture in _each():
    (root / str(number % _CLASSES) / f'{number}.png').write_bytes(_png(picture))


def _dicom(root):
  for label in range(_CLASSES):
    (root / str(label)).mkdir()
  for number, picture in _each():
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = uid.SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f'1.2.{number}'
    dataset.PatientID = str(number // 4)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, 'MONOCHROME2'
    dataset.Rows = dataset.Columns = _SIDE.value
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.WindowCenter, dataset.WindowWidth = '128', '256'
    dataset.PixelData = picture[..., 0].astype(np.uint16).tobytes()
    dataset.save_as(root / str(number % _CLASSES) / f'{number}.dcm', enforce_file_format=True)


def _parquet(root):
  schema = pa.schema([('image', pa.struct([('bytes', pa.binary()), ('path', pa.string())])), ('label', pa.int64())])
  with parquet.ParquetWriter(root / 'train.parquet', schema, compression='none') as writer:
    rows = []
    for number, picture in _each():
      rows.append({'image': {'bytes': _png(picture), 'path': None}, 'label': number % _CLASSES})
      if len(rows) == 1000 or number == _FILES.value - 1:
        writer.write_table(pa.Table.from_pylist(rows, schema))
        rows = []


def _webdataset(root):
  archive = None
  for number, picture in _each():
    if number % 5000 == 0:
      if archive is not None:
        archive.close()
      archive = tarfile.open(root / f'train-{number // 5000:06d}.tar', 'w')
    for suffix, content in (('png', _png(picture)), ('cls', str(number % _CLASSES).encode())):
      member = tarfile.TarInfo(f'{number:07d}.{suffix}')
      member.size = len(content)
      archive.addfile(member, io.BytesIO(content))
  archive.close()


_WRITE = {'folder': _folder, 'dicom': _dicom, 'parquet': _parquet, 'webdataset': _webdataset}


if __name__ == '__main__':
  app.run(main)
