#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# check: timeout 300
"""The demo as a test, with state at a Redis server: all rows, and those of its failure."""
import demo_rows

if __name__ == "__main__":
	demo_rows.main("redis")
