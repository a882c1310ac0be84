"""Terminal tables, figures and self-contained HTML reports."""
