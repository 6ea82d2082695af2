"""The command line, `pro-engine`."""
