"""Hospitals that train one model together: every way of doing so, compared at each hospital."""
