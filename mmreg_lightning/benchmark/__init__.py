"""Features, solvers and other packages on one data set: equally many trials each, then one run on other pairs."""
