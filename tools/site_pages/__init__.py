"""The documentation's site: pages' commands run, figures taken from results files, reference pages generated."""
