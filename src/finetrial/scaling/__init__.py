"""Pure arithmetic of scaling laws: no files, no network, no torch. Only the fitting modules load numpy."""
