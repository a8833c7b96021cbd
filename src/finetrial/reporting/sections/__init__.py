"""The sections of a report, one module each; `reporting.compose` lists them in their order."""
