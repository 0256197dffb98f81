"""Checks of the exercises, a module for each notebook. They hold the answers: solve first, then look."""
