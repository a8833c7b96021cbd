"""Read the configurations of other tuning tools, and write trial files of them."""
