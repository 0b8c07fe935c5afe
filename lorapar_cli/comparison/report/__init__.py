"""What the trainings of a comparison come to: estimates, tables, the verdict."""
