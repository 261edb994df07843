"""What any program needs: files that appear whole or not at all, progress with the time left, hashes and seeds, what
this machine offers, Ctrl-C, and commands quoted for a shell. Imports errors alone, and no torch."""
