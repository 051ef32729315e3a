"""The data sets of the field: how they become one kind of table, are looked through, and split by speaker."""
