"""What a run was worth: metrics, calibration, selection of the step, result files, plots and controls."""
