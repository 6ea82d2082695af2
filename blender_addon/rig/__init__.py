# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in the scene: camera, mesh, material and images, built from a depth map, and rebuilt."""
