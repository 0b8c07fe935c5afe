"""What is not a stage: doctor, report, inspect, plot, export."""
