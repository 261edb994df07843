"""What maintains the project: measurements, generated documentation. Run from the root: python -m scripts.NAME"""
