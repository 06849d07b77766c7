"""Results side by side: tables, statistics, published figures."""
