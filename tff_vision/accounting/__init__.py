"""What a run costs: events, accountants, profiles, and budgets over several runs."""
