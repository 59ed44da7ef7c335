"""`python -m lrcompress`."""

from lrcompress.cli import main

if __name__ == "__main__":
    main(prog_name="lrcompress")
