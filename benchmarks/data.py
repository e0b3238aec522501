"""Measures the data pipeline: time from cohort to first batch, memory over many rounds, and a cold start.

    python -m benchmarks.data --json=FILE [--writers=3400 --examples_per_writer=198]

Three targets: at most 10 ms per client for arrays with 10 to 1,000 clients per round, and 5 ms for 3,400 writers in
TFF's SQLite; memory growth below 1 MB per round after warm-up; in a new process, a data step for Fashion-MNIST over 100
clients within 3 s. The SQLite file is made here, in TFF's format and of EMNIST's size.

Times are the best of a few repetitions, as in `timeit`, because other load on the machine can only add time.
"""

import json
import os
import pathlib
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy as np
import psutil
import tensorflow as tf
from absl import app, flags

import tff_vision as tv
from benchmarks import origin
from tff_vision import configs
from tff_vision.data import build
from tff_vision.data import images as images_lib
from tff_vision.data.sources import sql
from tff_vision.runtime.driver import local

_JSON = flags.DEFINE_string('json', None, 'File that receives the numbers.')
_WRITERS = flags.DEFINE_integer('writers', 3400, 'Clients in the SQLite file.')
_EXAMPLES = flags.DEFINE_integer('examples_per_writer', 198, 'Mean training examples of a writer; EMNIST has 198.')
_ROUNDS = flags.DEFINE_integer('rounds', 500, 'Rounds over which memory is watched.')
_COHORT = flags.DEFINE_integer('cohort', 10, 'Clients in such a round.')
_SCRATCH = flags.DEFINE_string('scratch', None, 'Folder for the SQLite file, about 3 GB; a temporary one by default.')

_COLD = """
import time
start = time.perf_counter()
from tff_vision import configs
from tff_vision.data import build
imported = time.perf_counter()
found = build.build(configs.DataConfig(dataset='fashion_mnist', num_clients=100), seed=0)
print(imported - start, time.perf_counter() - imported, len(found.train), len(found.test.examples))
"""


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f'unknown arguments: {argv[1:]}')
  local.close()  # Importing TFF opens a runtime, which is not needed here.
  with tempfile.TemporaryDirectory() as temporary:
    numbers = {'machine': origin.measurement(), 'cold_start': _cold_start(), 'arrays': _arrays()}
    database = _write_sqlite(pathlib.Path(_SCRATCH.value or temporary) / 'writers.sqlite')
    numbers['sqlite'] = {'index': _sqlite(database)}
    numbers['memory'] = _memory(database)
    _drop_index(database)
    numbers['sqlite']['no_index'] = _sqlite(database)
    database.unlink()
  text = json.dumps(numbers, indent=2) + '\n'
  print(text, end='')
  if _JSON.value:
    pathlib.Path(_JSON.value).write_text(text)


def _cold_start():
  """Times `build` in a new process."""
  done = subprocess.run([sys.executable, '-c', _COLD], capture_output=True, text=True, check=True)
  imported, built, clients, tests = done.stdout.split()
  return {'dataset': 'fashion_mnist', 'clients': int(clients), 'test_examples': int(tests),
          'import_seconds': round(float(imported), 3), 'build_seconds': round(float(built), 3)}


def _arrays():
  """Times clients of Fashion-MNIST in cohorts of 10 to 1,000: milliseconds per client."""
  task = _task(build.build(configs.DataConfig(dataset='fashion_mnist', partition='iid', num_clients=1000), seed=0))
  return {str(cohort): _milliseconds(task, range(cohort)) for cohort in (10, 100, 1000)}


def _sqlite(path):
  """Times opening the file and reading writers spread over the whole file."""
  start = time.perf_counter()
  rows, owners, notes = sql.rows_of_split(path, 'all_train')
  opened = time.perf_counter() - start
  start = time.perf_counter()
  sql.rows_of_split(path, 'all_train')
  again = time.perf_counter() - start
  clients = _sql_clients(path, rows, owners)
  task = _task(_images(clients))
  passes = [[], [], []]
  for took in passes:
    for client in range(0, len(clients), max(1, len(clients) // 200)):
      start = time.perf_counter()
      clients.examples(client)
      took.append(1000 * (time.perf_counter() - start))
  return {'clients': len(clients), 'rows': len(rows), 'megabytes': round(path.stat().st_size / 1e6),
          'open_seconds': round(opened, 2), 'open_again_seconds': round(again, 2),
          'milliseconds_a_client': round(min(map(statistics.median, passes)), 2),
          'milliseconds_a_client_to_first_batch': _milliseconds(task, range(0, len(clients), len(clients) // 100)),
          'notes': notes[0].partition(' ')[2].partition(',')[0] if notes else ''}


def _memory(path):
  """Reads all clients of the SQLite file for many rounds and records the resident memory."""
  rows, owners, _ = sql.rows_of_split(path, 'all_train')
  clients = _sql_clients(path, rows, owners)
  task = _task(_images(clients))
  process, resident = psutil.Process(), []
  for round_num in range(_ROUNDS.value):
    for place in range(_COHORT.value):
      for _ in task.client_dataset((round_num * _COHORT.value + place) % len(clients), round_num):
        pass
    resident.append(process.memory_info().rss / 1e6)
  warm = resident[len(resident) // 5:]
  return {'rounds': _ROUNDS.value, 'clients': len(clients), 'clients_a_round': _COHORT.value,
          'resident_megabytes_after_warm_up': round(warm[0]), 'resident_megabytes_at_the_end': round(warm[-1]),
          'growth_megabytes_a_round': round((warm[-1] - warm[0]) / max(1, len(warm) - 1), 4)}


def _milliseconds(task, cohort):
  """Returns milliseconds per client from cohort to first batch: the best of five rounds after the first."""
  took = []
  for round_num in range(6):
    start = time.perf_counter()
    for dataset in [task.client_dataset(client, round_num) for client in cohort]:
      next(iter(dataset))
    took.append(1000 * (time.perf_counter() - start) / len(cohort))
  return round(min(took[1:]), 2)


def _task(images):
  return tv.Experiment(tv.Task(images, model='mlp')).plan().task


def _images(clients):
  return images_lib.FederatedImages(name='emnist', train=clients, spec=images_lib.ImageSpec.of(
      clients.examples(0), [str(c) for c in range(62)]))


def _sql_clients(path, rows, owners):
  names, starts = np.unique(owners, return_index=True)  # Rows of one writer are contiguous.
  row_format = sql.RowFormat(image='pixels', shape=(28, 28, 1), floats=True, label='label', num_classes=62)
  return images_lib.ArrayClients(sql.SqlExamples(path, rows, row_format),
                             np.split(np.arange(len(rows)), starts[1:]), names.tolist())


def _write_sqlite(path):
  """Writes writers with images of EMNIST's shape; images are repeated, since only their size matters here."""
  rng = np.random.default_rng(0)
  pictures = [tf.train.Example(features=tf.train.Features(feature={
      'pixels': tf.train.Feature(float_list=tf.train.FloatList(value=rng.random(784))),
      'label': tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))})).SerializeToString()
              for label in range(62)]
  path.unlink(missing_ok=True)
  connection = sqlite3.connect(path)
  connection.execute('PRAGMA journal_mode=OFF')
  with connection:
    connection.execute('CREATE TABLE examples (split_name TEXT NOT NULL, client_id TEXT NOT NULL, '
                       'serialized_example_proto BLOB NOT NULL)')
    connection.execute('CREATE TABLE client_metadata (client_id TEXT NOT NULL, split_name TEXT NOT NULL, '
                       'num_examples INTEGER NOT NULL)')
    for writer in range(_WRITERS.value):
      name, number = f'f{writer:04d}_00', int(rng.integers(_EXAMPLES.value // 2, _EXAMPLES.value * 3 // 2 + 1))
      connection.executemany('INSERT INTO examples VALUES (?, ?, ?)',
                             [('all_train', name, pictures[i % 62]) for i in range(number)])
      connection.execute('INSERT INTO client_metadata VALUES (?, ?, ?)', (name, 'all_train', number))
    connection.execute('CREATE INDEX by_client ON examples (client_id, split_name)')
  connection.close()
  return path


def _drop_index(path):
  connection = sqlite3.connect(path)
  with connection:
    connection.execute('DROP INDEX by_client')
  connection.close()


if __name__ == '__main__':
  app.run(main)
