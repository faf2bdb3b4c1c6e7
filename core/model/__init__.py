"""The networks: speech backbones, style encoder, decoders."""
