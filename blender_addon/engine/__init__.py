# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine beside Blender: found, started, asked, and what its end says. No Blender in it."""
