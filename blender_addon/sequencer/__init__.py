"""The scene's sequencer: sound strips as speech, and speech as sound strips."""
