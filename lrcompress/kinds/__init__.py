"""What a layer kind is, from its config and arrays alone: no Keras, no files."""
