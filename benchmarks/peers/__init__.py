"""One audit with jleaks and with other tools, each in an environment of its own."""
