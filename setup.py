"""What is installed where; who and what the project is stands in pyproject.toml.

colcon runs this file from the folder of the project and, with `--symlink-install`, from one that holds links to it,
setup.cfg and the packages alone. So what colcon has to know is said here and there, not in pyproject.toml.
"""

from glob import glob

from setuptools import find_packages, setup

NAME = "ros2_pro"  # of the ROS package

setup(
    packages=[*find_packages(include=["pro_engine", "pro_engine.*", NAME, f"{NAME}.*"]), "pro_engine.weights"],
    package_data={"pro_engine": ["py.typed", "weights/*.safetensors", "weights/MODEL_CARD.md", "io/viewer.html"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", glob("launch/*.launch.py")),
        (f"share/{NAME}/config", glob("config/*")),
        (f"share/{NAME}/rviz", glob("rviz/*.rviz")),
        # `ros2 run` and launch files look for programs here; pip puts console scripts elsewhere.
        (f"lib/{NAME}", glob("scripts/*")),
    ],
    python_requires=">=3.10",  # colcon cannot read it from pyproject.toml
    entry_points={
        "console_scripts": [
            "pro-engine = pro_engine.cli:start",
            f"pro_node = {NAME}.main:main",
            f"demo_camera = {NAME}.demo.camera:main",
        ]
    },
    zip_safe=False,
)
