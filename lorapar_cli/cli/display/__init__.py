"""What is shown while commands work: tasks, the board of a run, lines that break between words."""
