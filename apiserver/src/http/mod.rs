//! From bytes on a socket to a request whose sender is known and allowed to ask, and back.
//!
//! `listener` owns sockets, TLS and connections, for whatever answers; `certified` says of the front who is connected.
//! [`Front`] is the chain every request passes, the same for those that come over TCP and those of parts in this process
//! (`in_process`): who asks, as whom, is there room, may they; then `router` finds who answers. The rest are its steps: reading a path ([`request_info`]), writing answers (`respond`, `compress`),
//! bodies that hold on to what the request holds on to (`guarded_body`), HTTP/2's writes put together (`gathering`), and the
//! chunks of an HTTP/1.1 watch written past hyper (`lane`).

pub(crate) mod catalogue;
mod certified;
mod compress;
pub(crate) mod document;
mod front;
mod gathering;
pub(crate) mod go_duration;
mod guarded_body;
mod in_flight;
mod in_process;
mod lane;
mod listener;
pub mod request_info;
pub(crate) mod respond;
pub(crate) mod router;

pub use self::certified::CertifiedFront;
pub use self::front::{Front, FrontLimits, FrontParts, Origin};
pub use self::in_process::InProcessService;
pub use self::listener::{Answering, Connections, ListenerLimits, Listeners};
pub(crate) use self::router::Router;
