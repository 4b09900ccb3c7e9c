"""What ``weft`` and ``python -m bot`` start."""

import sys


def main() -> None:
    """Run the command line; exits with 130 on Ctrl-C."""
    try:
        # In here, as it takes 0.1 s, in which Ctrl-C would print a traceback.
        from bot.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
