"""A camera without hardware, for a first look and for tests."""
