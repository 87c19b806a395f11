//! One neighbour: sessions, timers, collision.
