"""Songs to train on, to test with and to show: from folders, and rendered by the package itself."""
