"""Studies of whether the method pays: commands that resume, and the files that the docs come from."""
