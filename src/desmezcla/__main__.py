"""`python -m desmezcla`: the command line."""

from desmezcla.cli import main

if __name__ == "__main__":
    main()
