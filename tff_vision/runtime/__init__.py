"""Execution contexts, local and remote, and the worker processes behind them."""
