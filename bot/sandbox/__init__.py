"""Providers as local servers, for the demo, the tests and people who build against tuma."""
