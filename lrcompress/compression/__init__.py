"""`factorize` without Keras: a file is read, ranks are chosen, a smaller file is written."""
