"""`python -m lorapar_cli` is the `lorapar` command, for launchers that start modules."""

from lorapar_cli.cli.main import main

if __name__ == "__main__":
    main()
