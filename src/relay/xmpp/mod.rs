//! Bots with accounts at an XMPP server: one account for each, so the sender's address says who speaks.
//!
//! - here: what the configuration says of it, also where the program is built without the feature `xmpp`
//! - [`connect`]: TCP, TLS, SCRAM and the binding of a resource, all checked
//! - [`talk`]: frames as messages, reconnecting for ever

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::SecretString;

use crate::relay::name::BotName;

#[cfg(feature = "xmpp")]
pub(in crate::relay) mod connect;
#[cfg(feature = "xmpp")]
pub mod talk;

/// An account, and those of the peers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Host and port.
    pub server: String,
    /// Our address, without a resource.
    pub jid: String,
    pub password: SecretString,
    pub tls: Tls,
    /// A file in PEM with all that is trusted; `None`: what the system trusts.
    pub ca: Option<PathBuf>,
    /// Their addresses, without resources.
    pub peers: BTreeMap<BotName, String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// A connection in plain text turns into a safe one before anything is said.
    #[default]
    StartTls,
    Direct,
    /// Only to this machine.
    Off,
}
