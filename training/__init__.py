"""Making corpora, training, measuring. Uses core; core never uses this."""

import core as core  # first, so that it decides how threads wait before torch is loaded
