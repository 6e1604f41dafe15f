"""Report of a fit."""
def write(folder, case, tree, table, summary, checks, figures, settings):
    (folder / "report.html").write_text("stub")
