"""What is said of an exported model where clients keep layers or models of their own."""

import pytest

from tff_vision.report import shared_model


def said(algorithm, personal=None, **settings):
  return shared_model.sentence({'config': {'algorithm': {'algorithm': algorithm, 'personal_layers': '', **settings}},
                                'personal': personal})


@pytest.mark.parametrize(('algorithm', 'settings', 'personal', 'words'), [
    ('fedper', {}, {}, 'a head of its own; the head of the exported model is as initialized: what it answers means '
     'nothing'),
    ('fedrep', {'personal_layers': 'norm'}, {}, 'layers of its own that normalise; those of the exported model are as '
     'initialized: train or calibrate them'),
    ('fedper', {'personal_layers': 'stem_*'}, None, 'the layers stem_* of its own; those of the exported model are as '
     'initialized'),
    ('fedbn', {}, {'joined': 3}, 'layers of its own that normalise; those of the exported model are the mean over 3 '
     'clients'),
    ('fedbn', {}, {'joined': 1}, 'the mean over 1 client,'),
    ('fedbn', {}, {'joined': 0}, 'are as initialized'), ('fedbn', {}, None, 'are as initialized'),  # Nobody; a promise.
    ('fedbn', {'personal_layers': 'head'}, {'joined': 2}, 'the layers head of its own; those of the exported model are '
     'the mean over 2'),
    ('ditto', {}, None, 'the exported model is the one that all share'), ('apfl', {}, {}, 'is the one that all share'),
    ('ifca', {'ifca_clusters': 2}, {}, 'is the first of them'),
    ('own.module:Algorithm', {}, {'never_trained': 0}, 'is the one that all share')])
def test_it_is_what_holds_for_the_settings(algorithm, settings, personal, words):
  found = said(algorithm, personal, **settings)
  assert words in found and found.endswith('.') and found.count('. ') == 0


@pytest.mark.parametrize(('algorithm', 'settings', 'personal'), [
    ('fedavg', {}, None), ('fedper', {'personal_layers': 'none'}, {}), ('ifca', {'ifca_clusters': 1}, {}),
    ('fedavg', {'personalize_epochs': 2}, {'never_trained': 0}), ('own.module:Algorithm', {}, None)])
def test_nothing_is_said_where_the_exported_model_is_all_that_there_is(algorithm, settings, personal):
  assert said(algorithm, personal, **settings) == ''
