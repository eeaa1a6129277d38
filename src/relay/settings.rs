//! What a bot's configuration says about the relay.

use std::collections::BTreeSet;

use crate::dynamo::Dynamo;
use crate::dynamo::connect::{Store, StoreConfig, connect};
use crate::relay::name::{BotName, Pattern, Topic};
use crate::relay::routes::Routes;
use crate::relay::rules::Rule;
use crate::relay::table::ByTable;
use crate::relay::transport::{Transport, TransportError};
use crate::relay::tree::Source;
use crate::relay::xmpp;

#[derive(Clone, Debug)]
pub struct Settings {
    pub routes: Routes,
    pub rules: Vec<Rule>,
    /// Topics that the admins of a server may link to a channel.
    pub open: Vec<Pattern>,
    /// A peer is reached by one of them.
    pub transports: Vec<Via>,
    /// What is watched here.
    pub sources: Vec<Source>,
}

impl Settings {
    /// Whether the admins of a server may link this topic to a channel.
    pub fn is_open(&self, topic: &Topic) -> bool {
        self.open.iter().any(|pattern| pattern.matches(topic))
    }
}

/// How some peers are reached.
#[derive(Clone, Debug)]
pub enum Via {
    Table(TableVia),
    Xmpp(xmpp::Settings),
}

impl Via {
    pub fn peers(&self) -> BTreeSet<BotName> {
        match self {
            Self::Table(via) => via.peers.clone(),
            Self::Xmpp(settings) => settings.peers.keys().cloned().collect(),
        }
    }
}

impl Via {
    /// For the log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Table(_) => "table",
            Self::Xmpp(_) => "xmpp",
        }
    }
}

/// A table that these bots share.
#[derive(Clone, Debug, Default)]
pub struct TableVia {
    pub peers: BTreeSet<BotName>,
    /// The store that it is in, where that is open already.
    pub table: Option<Dynamo>,
    /// Amazon's, in this region; `None`: the bot's own store.
    pub region: Option<String>,
    /// Before the table's name; `None`: the bot's own.
    pub table_prefix: Option<String>,
}

impl TableVia {
    /// `own`: the bot's own store.
    pub async fn open(&self, own: &Dynamo, me: &BotName) -> Result<Box<dyn Transport>, TransportError> {
        let dynamo = match (&self.table, &self.region) {
            (Some(open), _) => open.clone(),
            (None, None) => own.clone(),
            (None, Some(region)) => {
                let store = Store::Aws { region: Some(region.clone()) };
                let config = StoreConfig::new(store);
                let table_prefix = self.table_prefix.clone().unwrap_or_default();
                let connected = connect(StoreConfig { table_prefix, ..config }).await;
                connected.map_err(|error| TransportError::Config(format!("{error:#}")))?.dynamo
            }
        };
        Ok(Box::new(ByTable::new(dynamo, me.clone(), self.peers.clone())))
    }
}
