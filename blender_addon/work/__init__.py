# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs now: the one job or test of a session, and its steps while Blender stays usable."""
