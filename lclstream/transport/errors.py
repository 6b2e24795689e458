"""What can go wrong between two sockets."""


class TransportError(Exception):
    """A message could not be sent or received."""


class Closed(TransportError):
    """The socket was closed on this side."""


class AddressTaken(TransportError):
    """Something else listens on this address."""


class Unreachable(TransportError):
    """Nobody answers at this address, or not any more."""


class Untrusted(TransportError):
    """One side does not accept the other's certificate."""
