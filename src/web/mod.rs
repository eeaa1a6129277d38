//! The faces: the playground's chat, and the dashboard.
//!
//! Who may open the dashboard is told in [`dashboard::door`]. Whoever can open the playground can speak as anybody in the simulated Discord, so they are for this machine
//! alone: a request must name a loopback host, which stops DNS rebinding, and a foreign `Origin` is refused,
//! which stops other web sites. The browser is told to run nothing that did not come from here.

mod assets;
mod chat;
pub mod dashboard;
mod health;
mod local;
mod mischief;
mod probe;

pub use health::serve;
pub use probe::ask_health;

use axum::Router;

use crate::backstage::Backstage;
use crate::dynamo::faults::Faults;
use crate::sim::Simulator;

/// The playground: the page at `/`, its parts below `/assets`, the socket at `/ws`, files at `/attachments`.
/// It shows what is told to `backstage`, and has switches for the faults on the way to the store.
pub fn router(simulator: Simulator, backstage: Backstage, store: Faults) -> Router {
    let mischief = mischief::Mischief::new(simulator.clone(), store);
    local::only(assets::routes().merge(chat::routes(chat::Stage::new(simulator, backstage, mischief))))
}
