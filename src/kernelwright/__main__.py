"""``python -m kernelwright`` and the ``kernelwright`` command."""

import sys


def main() -> None:
    """Run the command line; the process exits with its code."""
    from kernelwright.agent.cli.app import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
