"""The ROS 2 node of PRO: camera topics in, refined depth and point clouds out."""
