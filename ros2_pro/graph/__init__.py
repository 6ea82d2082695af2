"""What the node has in the ROS graph: parameters, subscriptions, publishers, a bond."""
