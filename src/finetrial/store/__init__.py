"""Where does a trial live on disk? Rows of every file, the folder's layout, atomic files, content hashes."""
