"""Property tests: the gate plays the same examples everywhere and never fails for being slow on a busy machine.

HYPOTHESIS_PROFILE=soak draws new examples, more of them: what it finds becomes a named regression.
"""

import gc
import os
import signal

from hypothesis import HealthCheck, settings

from tests import leftovers

leftovers.guard()

# Whoever starts the tests in the background of a script has SIGINT ignored, and so would all that tests start and stop.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What thousands of tests import and make stays: to look through it as often as a small program does is a tenth of
# the time.
gc.set_threshold(50_000, 20, 50)

_SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)
settings.register_profile("gate", deadline=None, derandomize=True, suppress_health_check=_SLOW)
settings.register_profile("soak", deadline=None, max_examples=2000, suppress_health_check=_SLOW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))
