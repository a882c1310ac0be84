"""``python -m multitudes``: the command line, as ``torchrun -m multitudes`` starts it."""

from multitudes.cli.main import main

if __name__ == "__main__":
    main()
