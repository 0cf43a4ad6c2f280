//! What `pw` sees of a running server, and tells it, by its control socket.

mod deny;
mod running;
mod watch;
