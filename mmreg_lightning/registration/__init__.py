"""Registration of a pair, from files or memory: settings, initial affine, solver, results and reports."""
