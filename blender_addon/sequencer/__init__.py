"""The scene's sequencer and its time: sound strips as speech, speech as sound strips, clocks."""
