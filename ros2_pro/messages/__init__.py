"""Messages of ROS as numpy arrays and back."""
