"""Where a trial lives on disk: rows of every file, the folder's layout, atomic files, content hashes."""
