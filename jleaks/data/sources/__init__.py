"""One builder or reader per source of records: fetched, checked, packed as arrays of integers."""
