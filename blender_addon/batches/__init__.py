"""Many lines of speech in one run: what batch.py does once it has found the add-on."""
