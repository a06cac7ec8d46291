"""Does a server speak Engine.IO 4 and Socket.IO 5 as unmodified clients expect it?

Tests over raw sockets, with nothing but Python's standard library. See __main__.py."""
