"""Rungs x seeds -> results: what is measured, in which tasks, where they run (processes here, or a Ray cluster), and
what is kept of them. Imports training and all below."""
