"""A new case: a folder with a commented case and tables that run as they are."""
