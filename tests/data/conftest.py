"""Small data sets in the formats that the real ones are distributed in."""

import pathlib
import sqlite3

import numpy as np
import pytest


def write_tff_sqlite(path: pathlib.Path, examples: dict, *, index: bool = True) -> pathlib.Path:
  """Writes a database in the format of `tff.simulation.datasets`.

  Args:
    path: Of the file to write.
    examples: {split: {client id: list of serialized tf.train.Example}}.
    index: Whether to make the index that lets a client be found without a scan.
  """
  connection = sqlite3.connect(path)
  with connection:
    connection.execute('CREATE TABLE examples (split_name TEXT NOT NULL, client_id TEXT NOT NULL, '
                       'serialized_example_proto BLOB NOT NULL)')
    connection.execute('CREATE TABLE client_metadata (client_id TEXT NOT NULL, split_name TEXT NOT NULL, '
                       'num_examples INTEGER NOT NULL)')
    for split, clients in examples.items():
      for client, rows in clients.items():
        connection.executemany('INSERT INTO examples VALUES (?, ?, ?)', [(split, client, row) for row in rows])
        connection.execute('INSERT INTO client_metadata VALUES (?, ?, ?)', (client, split, len(rows)))
    if index:
      connection.execute('CREATE INDEX by_client ON examples (client_id, split_name)')
  connection.close()
  return path


def emnist_example(pixels: np.ndarray, label: int) -> bytes:
  """Serializes one 28x28 float image as TFF's EMNIST does."""
  import tensorflow as tf
  return tf.train.Example(features=tf.train.Features(feature={
      'pixels': tf.train.Feature(float_list=tf.train.FloatList(value=pixels.ravel())),
      'label': tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))})).SerializeToString()


def cifar_example(image: np.ndarray, label: int, coarse_label: int) -> bytes:
  """Serializes one 32x32x3 uint8 image as TFF's CIFAR-100 does."""
  import tensorflow as tf
  return tf.train.Example(features=tf.train.Features(feature={
      name: tf.train.Feature(int64_list=tf.train.Int64List(value=np.ravel(value)))
      for name, value in (('image', image), ('label', label), ('coarse_label', coarse_label))})).SerializeToString()


def writers(seed: int = 0) -> dict:
  """Returns {split: {writer: examples}} for three writers, one of them with a quote in the name."""
  rng = np.random.default_rng(seed)
  names = ("f0001_41", "f0002_O'Brien", 'f0003_11')
  return {split: {name: [emnist_example(rng.random((28, 28)).astype(np.float32).round(1), int(rng.integers(top)))
                         for _ in range(size + number)] for number, name in enumerate(names)}
          for split, size, top in (('all_train', 5, 62), ('all_test', 2, 62), ('digits_only_train', 3, 10),
                                   ('digits_only_test', 1, 10))}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
  """No test sees or fills the user's own cache or home."""
  monkeypatch.setenv('TFF_VISION_CACHE', str(tmp_path / 'cache'))
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.delenv('TFDS_DATA_DIR', raising=False)
  return tmp_path / 'cache'
