"""One file a case: TITLE says what it measures, run(bench) does it. See README.md."""
