"""Hypothesis looks at values, not at the clock: a busy machine must not fail a test."""

from hypothesis import HealthCheck, settings

settings.register_profile("values", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("values")
