"""Dense: as what ends a model (head), made smaller in any way (kind), also behind a Flatten."""
