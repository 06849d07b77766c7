"""Songs to train on, to test with and to show: for now, those that the package renders itself."""
