# The ROS 2 node in a container: Humble or Jazzy, PyTorch for CPUs. It follows docs/ros2.md and was not built by us.
#
#   docker build -f docs/ros2.Dockerfile --build-arg ROS_DISTRO=jazzy -t ros2_pro .
#   docker run --rm -it --net=host --ipc=host ros2_pro ros2 launch ros2_pro demo.launch.py
ARG ROS_DISTRO=jazzy
FROM ros:${ROS_DISTRO}-ros-base

RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-colcon-common-extensions python3-venv \
        ros-${ROS_DISTRO}-bondpy ros-${ROS_DISTRO}-tf2-ros-py \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /ws
COPY . src/ros2_pro
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN . /opt/ros/${ROS_DISTRO}/setup.sh \
    && python3 -m venv --system-site-packages venv && touch venv/COLCON_IGNORE \
    && venv/bin/pip install --no-cache-dir torch --index-url ${TORCH_INDEX} \
    && venv/bin/pip install --no-cache-dir ./src/ros2_pro \
    && venv/bin/python -m colcon build --packages-select ros2_pro

# Shared memory is the fast way for large images; it needs --ipc=host, and the same user on both sides.
ENTRYPOINT ["/bin/bash", "-c", "source venv/bin/activate && source install/setup.bash && exec \"$@\"", "--"]
CMD ["ros2", "launch", "ros2_pro", "pro.launch.py"]
