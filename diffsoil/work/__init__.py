"""Work that takes long: where its results go, and how it can be stopped and gone on with."""
