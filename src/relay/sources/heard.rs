//! What people write in Discord's channels: those that a source watches, and those that are linked to a topic.
//! Whoever wrote it is not named, unless the operator said so.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::clock::Timestamp;
use crate::relay::channels::{Link, senders};
use crate::relay::envelope::Value;
use crate::relay::handle::Relay;
use crate::relay::name::Topic;
use crate::relay::publish::Draft;
use crate::relay::sources::sight::{Fields, Sight, cut};
use crate::relay::sources::{EVERYWHERE, publish_sight};
use crate::relay::tree::{Source, What};

/// A message of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub id: u64,
    pub server_id: u64,
    pub channel_id: u64,
    pub author: String,
    pub text: String,
    /// The names of the files that came with it.
    pub files: Vec<String>,
}

impl Message {
    fn says_nothing(&self) -> bool {
        self.text.trim().is_empty() && self.files.is_empty()
    }

    fn fields(&self, people: bool) -> BTreeMap<String, Value> {
        let text = |text: &str| Value::Text(cut(text).to_owned());
        let mut fields = super::fields([("channel", text(&self.channel_id.to_string()))]);
        if !self.text.trim().is_empty() {
            fields.insert("text".to_owned(), text(self.text.trim()));
        }
        if !self.files.is_empty() {
            fields.insert("files".to_owned(), text(&self.files.join(", ")));
        }
        if people {
            fields.insert("author".to_owned(), text(&self.author));
        }
        fields
    }

    /// The time in its id: a redelivered message makes the same envelope.
    fn draft(&self, topic: Topic, key: String) -> Draft {
        Draft {
            because: format!("discord/{}/{topic}", self.id),
            topic,
            scope: EVERYWHERE,
            to: None,
            at: Timestamp::of_snowflake(self.id),
            part: 0,
            cause: None,
            depth: 0,
            key,
            subject: None,
            fields: self.fields(false),
        }
    }

    /// Whether a source watches this channel, and what it sees.
    fn for_source(&self, source: &Source) -> Option<Sight> {
        let What::Discord { channel_id, people } = source.what else { return None };
        let wanted = source.enabled && channel_id == self.channel_id && !self.says_nothing();
        wanted.then(|| Sight {
            because: self.id.to_string(),
            at: Timestamp::of_snowflake(self.id),
            topic: None,
            subject: None,
            fields: Fields(self.fields(people)),
        })
    }

    /// What a linked channel makes of it.
    pub fn for_link(&self, link: &Link) -> Option<Draft> {
        let wanted = link.way.sends() && link.channel_id == self.channel_id && !self.says_nothing();
        wanted.then(|| self.draft(link.topic.clone(), format!("discord/{}", self.channel_id)))
    }
}

/// How long it takes at most until a channel that was linked elsewhere is heard here.
const LINKS_EVERY: Duration = Duration::from_secs(30);

/// Publishes what people write.
pub struct Listener {
    relay: Relay,
    links: Vec<Link>,
    read_at: Option<Timestamp>,
}

impl Listener {
    pub fn new(relay: Relay) -> Self {
        Self { relay, links: Vec::new(), read_at: None }
    }

    pub async fn run(mut self, mut heard: mpsc::Receiver<Message>, stop: CancellationToken) {
        while let Some(Some(message)) = stop.run_until_cancelled(heard.recv()).await {
            self.hear(&message).await;
        }
    }

    async fn hear(&mut self, message: &Message) {
        let now = self.relay.clock().now();
        if self.read_at.is_none_or(|at| now.since(at) >= LINKS_EVERY) {
            match senders(self.relay.dynamo()).await {
                Ok(links) => (self.links, self.read_at) = (links, Some(now)),
                Err(error) => warn!(%error, "which channels are linked is not known"),
            }
        }
        let sources = &self.relay.settings().sources;
        for (source, sight) in sources.iter().filter_map(|source| Some((source, message.for_source(source)?)))
        {
            if let Err(why) = publish_sight(&self.relay, source, sight, now).await {
                self.relay.gauges().failed(&source.key);
                warn!(source = source.key, why, "what was written could not be sent");
            }
        }
        for draft in self.links.iter().filter_map(|link| message.for_link(link)) {
            if let Err(why) = self.relay.publish(draft).await {
                self.relay.gauges().failed("discord");
                warn!(channel_id = message.channel_id, %why, "what was written could not be sent");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::channels::Way;

    fn message() -> Message {
        let id = Timestamp::from_seconds(1_800_000_000).snowflake();
        Message {
            id,
            server_id: 1,
            channel_id: 7,
            author: "ann".into(),
            text: " hello\n".into(),
            files: vec!["a.png".into()],
        }
    }

    #[test]
    fn a_linked_channel_sends_what_is_written_and_names_nobody() {
        let link = |way, channel_id| Link {
            topic: Topic::new("chat/ops").unwrap(),
            server_id: 1,
            channel_id,
            way,
            by: 5,
            at: Timestamp::from_seconds(5),
        };
        let draft = message().for_link(&link(Way::Both, 7)).unwrap();
        assert_eq!(draft.fields["text"], Value::Text("hello".into()));
        assert_eq!(draft.fields["files"], Value::Text("a.png".into()));
        assert_eq!((draft.at, draft.key.as_str()), (Timestamp::from_seconds(1_800_000_000), "discord/7"));
        assert!(!draft.fields.contains_key("author"));
        assert_eq!(message().for_link(&link(Way::In, 7)), None);
        assert_eq!(message().for_link(&link(Way::Out, 8)), None);
        let empty = Message { text: " ".into(), files: Vec::new(), ..message() };
        assert_eq!(empty.for_link(&link(Way::Out, 7)), None);
    }
}
