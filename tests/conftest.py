"""What every test shares."""

from hypothesis import HealthCheck, settings

# A busy machine is no bug: how long an example takes decides no test.
settings.register_profile("forklight", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("forklight")
