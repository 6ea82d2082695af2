"""What the command line does, without the command line: whole jobs over files, for any host to call."""
