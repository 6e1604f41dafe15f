"""The processes of a soil column, one file each."""
