"""Evidence -> report.md and one self-contained report.html: sections, tables, figures. Imports analysis and what lies
below; no torch."""
