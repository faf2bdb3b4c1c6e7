"""Making corpora, training, measuring. Uses core; core never uses this."""
