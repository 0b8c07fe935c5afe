"""JSON schemas, generated: of configurations and grids for editors, of results for programs."""
