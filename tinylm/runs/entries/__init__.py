"""The course's own entries of the speedrun: one file each, which its first line describes."""
