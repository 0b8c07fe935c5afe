"""From the files of results to `docs/results.md` and the README's sentences."""
