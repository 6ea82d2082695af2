"""`python -m pro_engine` is the command `pro-engine`, for hosts that know an interpreter and not its scripts."""

from pro_engine.cli import start

if __name__ == "__main__":
    start()
