"""TFF's SQLite files: TFF's own parser is the oracle; then everything that can be wrong with such a file."""

import sqlite3

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.data import conftest
from tff_vision import configs
from tff_vision.data import build
from tff_vision.data.sources import sql

ROW = sql.RowFormat(image='pixels', shape=(28, 28, 1), floats=True, label='label', num_classes=62)


@pytest.fixture(scope='module')
def written():
  return conftest.writers()


@pytest.fixture(params=[True, False], ids=['index', 'no_index'])
def database(request, tmp_path, written):
  return conftest.write_tff_sqlite(tmp_path / 'emnist_all.sqlite', written, index=request.param)


def _positions(owners, client):
  return np.flatnonzero(owners == client)


def test_equals_tffs_own_parser(database):
  theirs, _ = tff.simulation.datasets.emnist.load_data(only_digits=False, cache_dir=str(database.parent))
  rows, owners, _ = sql.rows_of_split(database, 'all_train')
  mine = sql.SqlExamples(database, rows, ROW)
  assert sorted(set(owners.tolist())) == theirs.client_ids
  for client in ('f0001_41', 'f0003_11'):  # TFF itself cannot read a client with a quote in its name.
    batch = next(iter(theirs.create_tf_dataset_for_client(client).batch(100)))
    found = mine.take(_positions(owners, client))
    np.testing.assert_array_equal(found.x[..., 0], batch['pixels'].numpy())
    np.testing.assert_array_equal(found.y, batch['label'].numpy())


def test_quote_in_a_client_id_order_and_repeats(database, written):
  rows, owners, _ = sql.rows_of_split(database, 'digits_only_train')
  mine = sql.SqlExamples(database, rows, ROW)
  positions = _positions(owners, "f0002_O'Brien")
  parsed = [tf.train.Example.FromString(raw) for raw in written['digits_only_train']["f0002_O'Brien"]]
  order = np.array([2, 0, 2])
  found = mine.take(positions[order])
  for image, label, k in zip(found.x, found.y, order, strict=True):
    np.testing.assert_array_equal(image.ravel(), np.float32(parsed[k].features.feature['pixels'].float_list.value))
    assert label == parsed[k].features.feature['label'].int64_list.value[0]
  np.testing.assert_array_equal(mine.y, mine.take(np.arange(len(mine))).y)
  assert mine.take(np.zeros(0, int)).x.shape == (0, 28, 28, 1)


def test_missing_index_is_named_and_listed_once(tmp_path, written, monkeypatch):
  path = conftest.write_tff_sqlite(tmp_path / 'x.sqlite', written, index=False)
  first = sql.rows_of_split(path, 'all_test')
  assert 'no index' in first[2][0] and 'CREATE INDEX' in first[2][0]
  with sqlite3.connect(path) as connection:
    plan = connection.execute('EXPLAIN QUERY PLAN SELECT rowid FROM examples WHERE rowid IN (1, 2)').fetchall()
  assert 'SEARCH' in plan[0][-1]  # A client is read without a scan.
  queries = []
  real = sql.connect

  def watched(path):
    connection = real(path)
    connection.set_trace_callback(queries.append)
    return connection
  monkeypatch.setattr(sql, 'connect', watched)
  second = sql.rows_of_split(path, 'all_test')
  assert not any('FROM examples' in query for query in queries), queries
  np.testing.assert_array_equal(first[0], second[0])
  np.testing.assert_array_equal(first[1], second[1])
  path.with_name('.x.sqlite.rows.npz').write_bytes(b'PK\x03\x04 torn')
  np.testing.assert_array_equal(sql.rows_of_split(path, 'all_test')[0], first[0])


def _edit(path, *statements):
  with sqlite3.connect(path) as connection:
    for statement in statements:
      connection.execute(statement)


@pytest.mark.parametrize('statement, said', [
    ('DELETE FROM examples WHERE rowid = 1', 'incomplete'),
    ("INSERT INTO client_metadata VALUES ('f0001_41', 'all_train', 5)", 'twice'),
    ("UPDATE client_metadata SET client_id = 'other' WHERE client_id = 'f0001_41'", 'other'),
    ("DELETE FROM client_metadata WHERE client_id = 'f0001_41'", 'does not list'),
    ("DELETE FROM client_metadata WHERE split_name = 'all_train'", 'no split all_train'),
    ('DROP TABLE client_metadata', 'table client_metadata lacks'),
])
def test_contradictions_are_refused(database, statement, said):
  _edit(database, statement)
  with pytest.raises(ValueError, match=said) as raised:
    sql.rows_of_split(database, 'all_train')
  assert str(database) in str(raised.value)


def test_empty_client_is_counted(database):
  _edit(database, "INSERT INTO client_metadata VALUES ('f0009_00', 'all_train', 0)")
  _, owners, notes = sql.rows_of_split(database, 'all_train')
  assert 'f0009_00' not in owners
  assert any(note.startswith('1 client of all_train') for note in notes)


@pytest.mark.parametrize('content', [b'', b'junk ' * 1000])
def test_no_database(tmp_path, content):
  path = tmp_path / 'x.sqlite'
  path.write_bytes(content)
  with pytest.raises(ValueError, match='x.sqlite'):
    sql.rows_of_split(path, 'all_train')


def test_truncated_database(database):
  raw = database.read_bytes()
  database.write_bytes(raw[:len(raw) // 2])
  with pytest.raises(ValueError, match='truncated'):
    rows, _, _ = sql.rows_of_split(database, 'all_train')
    sql.SqlExamples(database, rows, ROW).take(np.arange(len(rows)))


def test_label_out_of_range_and_wrong_features(tmp_path):
  image = np.zeros((28, 28), np.float32)
  path = conftest.write_tff_sqlite(tmp_path / 'x.sqlite', {'s': {'a': [conftest.emnist_example(image, 62)]}})
  rows, _, _ = sql.rows_of_split(path, 's')
  with pytest.raises(ValueError, match='label 62'):
    sql.SqlExamples(path, rows, ROW).take(np.arange(1))
  other = conftest.write_tff_sqlite(tmp_path / 'y.sqlite', {'s': {'a': [conftest.emnist_example(image[:5], 1)]}})
  with pytest.raises(ValueError, match='y.sqlite'):
    sql.SqlExamples(other, rows, ROW).take(np.arange(1))


def test_cifar100_equals_tffs_own_parser_and_its_test_clients_are_strangers(tmp_path):
  rng = np.random.default_rng(0)
  rows = {split: {str(client): [conftest.cifar_example(rng.integers(0, 256, (32, 32, 3)), int(rng.integers(100)), 3)
                                for _ in range(4)] for client in range(clients)}
          for split, clients in (('train', 3), ('test', 2))}
  path = conftest.write_tff_sqlite(tmp_path / 'cifar100.sqlite', rows)
  theirs, their_test = tff.simulation.datasets.cifar100.load_data(cache_dir=str(tmp_path))
  found = build.build(configs.DataConfig(dataset='cifar100', data_dir=str(tmp_path), partition='natural',
                                         num_clients=None), seed=0)
  assert found.train.client_ids == theirs.client_ids == ['0', '1', '2']
  for client in range(3):
    batch = next(iter(theirs.create_tf_dataset_for_client(str(client)).batch(100)))
    np.testing.assert_array_equal(found.train.examples(client).x, batch['image'].numpy())
    np.testing.assert_array_equal(found.train.examples(client).y, batch['label'].numpy())
  # Test clients '0' and '1' are not the training clients of that name.
  assert [len(positions) for positions in found.test.clients] == [0, 0, 0]
  assert [len(positions) for positions in found.unseen.clients] == [4, 4]
  batch = next(iter(their_test.create_tf_dataset_for_client('1').batch(100)))
  np.testing.assert_array_equal(found.unseen.examples.x[found.unseen.clients[1]], batch['image'].numpy())
  path.write_bytes(path.read_bytes()[:5000])
  with pytest.raises(ValueError, match='cifar100.sqlite'):
    build.build(configs.DataConfig(dataset='cifar100', data_dir=str(tmp_path), partition='natural'), seed=0)
