//! Channels of servers that are linked to topics: what arrives is posted there, and what is written there is
//! sent.
//!
//! A link is up to three records that are written together: one is found by its topic, another by its server,
//! and where words are sent, one among all that send.

use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::clock::Timestamp;
use crate::dynamo::{
    Commit, Condition, Dynamo, Error, Personal, Places, Privacy, Query, Reach, Table, Token, Transaction,
};
use crate::relay::name::Topic;

/// More links than this of one server nobody keeps in mind.
pub const LINKS_OF_SERVER_MAX: usize = 20;

/// As many channels are posted to for one envelope; servers together may have more.
pub const LINKS_OF_TOPIC_MAX: u32 = 200;

/// Which way words go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// What arrives is posted.
    In,
    /// What is written is sent.
    Out,
    Both,
}

impl Way {
    pub fn posts(self) -> bool {
        self != Self::Out
    }

    pub fn sends(self) -> bool {
        self != Self::In
    }
}

/// A channel and a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub topic: Topic,
    pub server_id: u64,
    pub channel_id: u64,
    pub way: Way,
    /// Who linked them; 0 where it is found by its topic.
    pub by: u64,
    pub at: Timestamp,
}

/// What became of a wish to link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    Done,
    /// The server has as many as it may have.
    Full,
}

/// One record of `relay_channels`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelRecord {
    /// `topic/<topic>`, `server/<id>` or `senders/`
    pub owner: String,
    /// `<server>#<channel>` or `<channel>#<topic>`
    pub place: String,
    pub way: Way,
    /// Only in the server's.
    pub by: u64,
    /// In milliseconds since 1970.
    pub at: i64,
}

impl Table for ChannelRecord {
    const NAME: &'static str = "relay_channels";
    const KEY: &'static [&'static str] = &["owner", "place"];
    const PERSONAL: Personal = Personal {
        attributes: &[
            ("owner", Privacy::None),
            ("place", Privacy::None),
            ("way", Privacy::None),
            ("by", Privacy::Id),
            ("at", Privacy::None),
        ],
        places: Places::Named(server_of),
        kept: "until the channel is unlinked",
    };
    type Key = (String, String);

    fn key(&self) -> (String, String) {
        (self.owner.clone(), self.place.clone())
    }
}

fn server_of(reach: &Reach) -> Vec<String> {
    vec![of_server_key(reach.server_id)]
}

/// The owner of the records by which senders are found.
const SENDERS: &str = "senders/";

fn of_topic_key(topic: &Topic) -> String {
    format!("topic/{topic}")
}

fn of_server_key(server_id: u64) -> String {
    format!("server/{server_id}")
}

impl Link {
    /// Where it is found by those who send.
    fn sender(&self) -> ChannelRecord {
        let place = format!("{}#{}", self.channel_id, self.topic);
        ChannelRecord { owner: SENDERS.to_owned(), place, way: self.way, by: 0, at: self.at.millis() }
    }

    fn records(&self) -> [ChannelRecord; 2] {
        let Self { topic, server_id, channel_id, way, by, at } = self;
        let record = |owner, place, by| ChannelRecord { owner, place, way: *way, by, at: at.millis() };
        [
            record(of_topic_key(topic), format!("{server_id}#{channel_id}"), 0),
            record(of_server_key(*server_id), format!("{channel_id}#{topic}"), *by),
        ]
    }

    fn read(record: &ChannelRecord) -> Option<Self> {
        let (left, right) = record.place.split_once('#')?;
        let (topic, server_id, channel_id) = match record.owner.split_once('/')? {
            ("topic", topic) => (topic, left.parse().ok()?, right.parse().ok()?),
            ("senders", _) => (right, 0, left.parse().ok()?),
            (_, server_id) => (right, server_id.parse().ok()?, left.parse().ok()?),
        };
        let (topic, at) = (Topic::new(topic).ok()?, Timestamp::from_millis(record.at));
        Some(Self { topic, server_id, channel_id, way: record.way, by: record.by, at })
    }
}

/// Links a channel to a topic, or changes which way its words go. `cause`: the event that asked for it.
pub async fn link(
    dynamo: &Dynamo,
    cause: &Cause,
    topic: &Topic,
    channel_id: u64,
    way: Way,
) -> Result<Linked, Error> {
    let there = of_server(dynamo, cause.server_id).await?;
    let known = there.iter().any(|link| link.topic == *topic && link.channel_id == channel_id);
    if !known && there.len() >= LINKS_OF_SERVER_MAX {
        return Ok(Linked::Full);
    }
    let (server_id, by, at) = (cause.server_id, cause.actor_id, cause.at);
    let link = Link { topic: topic.clone(), server_id, channel_id, way, by, at };
    let write = Transaction::new(Token::new(cause.token(0)));
    let write = link.records().iter().fold(write, |write, record| write.put(record));
    let write = match way.sends() {
        true => write.put(&link.sender()),
        false => write.delete::<ChannelRecord>(link.sender().key()),
    };
    match dynamo.transact(write).await? {
        // The same event with other contents: an earlier delivery of it has linked them.
        Commit::Done | Commit::Repeated | Commit::Blocked(_) => Ok(Linked::Done),
    }
}

/// Ends a link; `false`: there was none.
pub async fn unlink(dynamo: &Dynamo, cause: &Cause, topic: &Topic, channel_id: u64) -> Result<bool, Error> {
    let (server_id, by, at) = (cause.server_id, cause.actor_id, cause.at);
    let link = Link { topic: topic.clone(), server_id, channel_id, way: Way::In, by, at };
    let [of_topic, of_server] = link.records();
    let sender = link.sender();
    let write = Transaction::new(Token::new(cause.token(0)))
        .delete_when::<ChannelRecord>(of_server.key(), Condition::present())
        .delete::<ChannelRecord>(of_topic.key())
        .delete::<ChannelRecord>(sender.key());
    Ok(!matches!(dynamo.transact(write).await?, Commit::Blocked(_)))
}

/// Ends all links of a server, and tells how many there were.
pub async fn forget(dynamo: &Dynamo, server_id: u64) -> Result<usize, Error> {
    let links = of_server(dynamo, server_id).await?;
    for link in &links {
        let [of_topic, of_server] = link.records();
        // The one by which they are found here goes last: whoever is interrupted begins again.
        for record in [link.sender(), of_topic, of_server] {
            dynamo.delete::<ChannelRecord>(record.key()).await?;
        }
    }
    Ok(links.len())
}

/// The other records of a link whose server's record this is, for whoever moves records without a scan.
pub fn found_elsewhere(record: &ChannelRecord) -> Vec<ChannelRecord> {
    let server_id = record.owner.strip_prefix("server/").and_then(|id| id.parse().ok());
    let Some((server_id, link)) = server_id.zip(Link::read(record)) else { return Vec::new() };
    let link = Link { server_id, ..link };
    let [of_topic, _] = link.records();
    std::iter::once(of_topic).chain(link.way.sends().then(|| link.sender())).collect()
}

/// All channels from which words are sent; without their servers.
pub async fn senders(dynamo: &Dynamo) -> Result<Vec<Link>, Error> {
    let records = dynamo.query_all(Query::<ChannelRecord>::of(SENDERS.to_owned())).await?;
    Ok(records.iter().filter_map(Link::read).collect())
}

/// The channels that a topic is linked to.
pub async fn of_topic(dynamo: &Dynamo, topic: &Topic) -> Result<Vec<Link>, Error> {
    let query = Query::<ChannelRecord>::of(of_topic_key(topic));
    Ok(dynamo.query_first(query, LINKS_OF_TOPIC_MAX).await?.iter().filter_map(Link::read).collect())
}

/// The topics that the channels of a server are linked to.
pub async fn of_server(dynamo: &Dynamo, server_id: u64) -> Result<Vec<Link>, Error> {
    let records = dynamo.query_all(Query::<ChannelRecord>::of(of_server_key(server_id))).await?;
    Ok(records.iter().filter_map(Link::read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamo::TableSpec;
    use crate::dynamo::testing::embedded;

    #[tokio::test]
    async fn a_link_is_found_by_its_topic_and_by_its_server() {
        let dynamo = embedded(&[TableSpec::of::<ChannelRecord>()]).await;
        let cause = |event_id| Cause::new(event_id << 22, 7, 9);
        let (announce, ops) = (Topic::new("announce").unwrap(), Topic::new("chat/ops").unwrap());
        assert_eq!(link(&dynamo, &cause(1), &announce, 20, Way::In).await.unwrap(), Linked::Done);
        assert_eq!(link(&dynamo, &cause(2), &ops, 20, Way::Both).await.unwrap(), Linked::Done);
        let found = of_topic(&dynamo, &ops).await.unwrap();
        assert_eq!((found[0].server_id, found[0].channel_id, found[0].way), (7, 20, Way::Both));
        assert_eq!(of_server(&dynamo, 7).await.unwrap().len(), 2);
        let sending: Vec<_> = senders(&dynamo).await.unwrap().into_iter().map(|link| link.topic).collect();
        assert_eq!(sending.iter().collect::<Vec<_>>(), [&ops], "the other only posts");
        assert!(unlink(&dynamo, &cause(3), &ops, 20).await.unwrap());
        assert!(!unlink(&dynamo, &cause(4), &ops, 20).await.unwrap());
        assert!(of_topic(&dynamo, &ops).await.unwrap().is_empty());
        assert!(senders(&dynamo).await.unwrap().is_empty());
        for channel_id in 21..40 {
            let linked = link(&dynamo, &cause(channel_id), &announce, channel_id, Way::In).await.unwrap();
            assert_eq!(linked, Linked::Done);
        }
        assert_eq!(link(&dynamo, &cause(99), &ops, 50, Way::In).await.unwrap(), Linked::Full);
        assert_eq!(link(&dynamo, &cause(98), &announce, 21, Way::Both).await.unwrap(), Linked::Done);
        assert_eq!(forget(&dynamo, 7).await.unwrap(), LINKS_OF_SERVER_MAX);
        assert!(of_server(&dynamo, 7).await.unwrap().is_empty());
        assert!(of_topic(&dynamo, &announce).await.unwrap().is_empty());
        assert!(senders(&dynamo).await.unwrap().is_empty());
    }
}
