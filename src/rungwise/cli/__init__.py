"""The command line: options as plain data, each command by the name of its function, and what is shown on the way.
Imports everything; nothing imports it but __main__.py. No torch until a command needs it."""
