"""A small double of ROS 2's `bondpy`, which is not on the package index."""
