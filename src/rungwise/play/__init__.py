"""The page that looks inside trained models: one HTML file that works from disk. Python collects what it shows, the
JavaScript beside it runs the models. Imports analysis and what lies below."""
