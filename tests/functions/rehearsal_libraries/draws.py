"""Has a random generator of its own."""

import random

DICE = random.Random()
