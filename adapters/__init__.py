"""The shell: sockets, files, clocks and the command line, around a core that decides."""
