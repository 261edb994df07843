"""The page that looks inside: a climb, or single runs, in one HTML file that needs no server and no network."""
