# SPDX-License-Identifier: GPL-3.0-or-later
"""What people see: the panel, its buttons and settings, the preferences, the export menu."""
