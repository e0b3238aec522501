"""The configs whose results are kept: every algorithm, mechanism, secure sum, aggregation and placement at least once.

Each case is a mapping from field names to values over `BASE`; a field's name is unique over all sections.
"""

BASE = {'dataset': 'digits', 'model': 'linear', 'num_clients': 6, 'cohort_size': 3, 'client_epochs': 1, 'rounds': 2,
        'rounds_per_evaluation': 1, 'seed': 3}

_UNIT_NOISE = {'clip_norm': 0.5, 'noise_multiplier': 1.0, 'delta': 1e-2}

CASES = {
    'fedavg': {},
    'fedavg_uniform_cosine': {'client_weighting': 'uniform', 'client_schedule': 'cosine', 'server_optimizer': 'adam',
                              'server_learning_rate': 0.01},
    'fedavg_mlp_momentum': {'model': 'mlp', 'client_optimizer': 'sgdm', 'server_optimizer': 'sgdm',
                            'server_learning_rate': 0.5},
    'fedprox': {'algorithm': 'fedprox'},
    'fedsgd': {'algorithm': 'fedsgd'},
    'scaffold': {'algorithm': 'scaffold', 'sampling': 'round_robin'},
    'fednova': {'algorithm': 'fednova'},
    'feddyn': {'algorithm': 'feddyn'},
    'mime_lite': {'algorithm': 'mime_lite'},
    'fedbuff': {'algorithm': 'fedbuff', 'over_selection': 1.6, 'rounds': 3},
    'fedper': {'algorithm': 'fedper', 'model': 'mlp'},
    'fedrep': {'algorithm': 'fedrep', 'model': 'mlp', 'client_epochs': 2},
    'ditto': {'algorithm': 'ditto'},
    'apfl': {'algorithm': 'apfl'},
    'ifca': {'algorithm': 'ifca'},
    'dropouts': {'dropout_before': 0.2, 'dropout_after': 0.2, 'rounds': 3},
    'median': {'aggregator': 'median'},
    'top_k': {'compression': 'top_k', 'top_k_fraction': 0.2},
    'label_flip': {'attack': 'label_flip', 'attack_fraction': 0.34},
    'he': {'secure_sum': 'he'},
    'masks': {'secure_sum': 'masks'},
    'masks_scaffold': {'secure_sum': 'masks', 'algorithm': 'scaffold'},
    'client_gaussian': {'privacy': 'client_gaussian', 'sampling': 'poisson', **_UNIT_NOISE},
    'client_adaptive': {'privacy': 'client_adaptive', 'sampling': 'poisson', 'clip_norm': 0.5,
                        'noise_multiplier': 0.8, 'delta': 1e-2,
                        'count_stddev': 1.0},
    'dp_ftrl': {'privacy': 'dp_ftrl', 'sampling': 'round_robin', **_UNIT_NOISE},
    'dp_mf_blt': {'privacy': 'dp_mf', 'sampling': 'round_robin', 'clip_norm': 0.5, 'target_epsilon': 8.0,
                  'delta': 1e-2},
    'distributed_gaussian': {'privacy': 'distributed_gaussian', 'secure_sum': 'masks', 'clip_norm': 0.5,
                             'noise_multiplier': 1.0,
                             'delta': 1e-2},
    'example_dp_sgd': {'privacy': 'example_dp_sgd', 'clip_norm': 0.5, 'noise_multiplier': 1.0, 'delta': 1e-3},
    'local_dp': {'privacy': 'local_dp', 'clip_norm': 0.5, 'noise_multiplier': 4.0, 'delta': 1e-2},
}
