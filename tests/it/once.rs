//! One event, one effect, one reply.
