//! The other side of the wire: credentials, pull, push.
