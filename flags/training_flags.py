"""How clients and server train: algorithm, optimizers, learning rates by round."""

from flags import groups
from tff_vision import configs

ALGORITHM, ALGORITHM_DETAILS, FAIR, PERSONAL = groups.of(configs.AlgorithmConfig, 'Algorithm')
CLIENT, CLIENT_DETAILS = groups.of(configs.ClientConfig, 'Training on clients, step on the server')
SERVER, SERVER_DETAILS = groups.of(configs.ServerConfig, 'Training on clients, step on the server')
SCHEDULE = groups.of(configs.ScheduleConfig, 'Learning rates by round')
GROUPS = (ALGORITHM, CLIENT, SERVER, ALGORITHM_DETAILS, CLIENT_DETAILS, SERVER_DETAILS, FAIR, PERSONAL,
          *SCHEDULE)
