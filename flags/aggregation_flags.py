"""How updates become one, how they are hidden meanwhile, and who attacks."""

from flags import groups
from tff_vision import configs

SECURE = groups.of(configs.SecureConfig, 'Secure sum')
AGGREGATION = groups.of(configs.AggregationConfig, 'Aggregation and compression')
ATTACK = groups.of(configs.AttackConfig, 'Simulated attackers')
GROUPS = (*SECURE, *AGGREGATION, *ATTACK)
