"""Differential privacy: plans, ledgers, mechanisms, audit."""
