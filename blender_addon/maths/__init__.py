# SPDX-License-Identifier: GPL-3.0-or-later
"""Depth to meshes, scale and lenses, with numpy alone."""
