//! [`Rulebook`]: acts on envelopes as the rules say. It knows no Discord: its posts go to whoever sends them.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::clock::Clock;
use crate::dynamo::Dynamo;
use crate::relay::channels::{Link, of_topic};
use crate::relay::envelope::{Envelope, Kind, Value};
use crate::relay::handle::Relay;
use crate::relay::here::Work;
use crate::relay::name::{BotName, Pattern};
use crate::relay::rules::gauge::Gauges;
use crate::relay::rules::state::{StateRecord, States};
use crate::relay::rules::{
    Effects, Judged, Level, Post, RELAY_TEXT_MAX, Rule, TooMany, judge, nonce, readable,
};
use crate::relay::run::{Act, Acted, Failure};
use crate::relay::settings::Settings;

/// The topic of what bot owners announce to everybody.
pub const ANNOUNCE: &str = "announce";

/// All posts of one envelope. Others wait behind it.
pub const POSTS_WITHIN: Duration = Duration::from_secs(30);

/// A post on its way to Discord, and who waits for it.
pub struct Posting {
    pub post: Post,
    /// It may have been posted before, longer ago than Discord remembers.
    pub perhaps_there: bool,
    pub posted: oneshot::Sender<Result<(), String>>,
}

pub struct Rulebook {
    rules: Arc<[Rule]>,
    me: BotName,
    clock: Clock,
    /// Where channels that are linked to a topic stand, and the topics that may be.
    channels: Dynamo,
    open: Vec<Pattern>,
    posts: mpsc::Sender<Posting>,
    gauges: Gauges,
}

impl Rulebook {
    pub fn new(relay: &Relay, posts: mpsc::Sender<Posting>) -> Self {
        let Settings { routes, rules, open, .. } = relay.settings();
        let (channels, clock) = (relay.tables().0.clone(), relay.clock().clone());
        Self {
            rules: rules.clone().into(),
            me: routes.me.clone(),
            clock,
            channels,
            open: open.clone(),
            posts,
            gauges: relay.gauges().clone(),
        }
    }
}

/// States that the rules of an envelope may ask for, one after the other.
const STATES_ASKED_MAX: usize = 16;

/// Runs rules, with what they remember. Envelopes are acted on one after the other, and one that changes a state
/// is written down before the next is judged.
async fn judge_with_states(
    rules: &[Rule],
    envelope: &Envelope,
    me: &BotName,
    clock: &Clock,
    store: &Dynamo,
) -> Result<Effects, Failure> {
    let (now, mut states) = (clock.now(), States::default());
    for _ in 0..STATES_ASKED_MAX {
        // The same rules would want the same again.
        let judged = judge(rules, envelope, me, now, &states);
        match judged.map_err(|why: TooMany| Failure::Never(why.to_string()))? {
            Judged::Done(effects) => return Ok(effects),
            Judged::Needs(names) => {
                for name in names {
                    let record = StateRecord::load(store, &name, &envelope.key).await;
                    let record = record.map_err(|error| Failure::Again(error.to_string()))?;
                    states.put(&name, record.map(|record| record.value));
                }
            }
        }
    }
    Err(Failure::Never("its rules ask for more and more states".to_owned()))
}

impl Act for Rulebook {
    fn act(&mut self, work: &Work) -> BoxFuture<'static, Result<Acted, Failure>> {
        let envelope = work.sealed.envelope().clone();
        let (posts, perhaps_there) = (self.posts.clone(), work.perhaps_done);
        // The owner may have linked any; for measurements that would be a question each.
        let open = self.open.iter().any(|pattern| pattern.matches(&envelope.topic));
        let channels = (open || envelope.kind == Kind::Event).then(|| self.channels.clone());
        let (rules, me, clock) = (self.rules.clone(), self.me.clone(), self.clock.clone());
        let (store, gauges) = (self.channels.clone(), self.gauges.clone());
        async move {
            let effects = judge_with_states(&rules, &envelope, &me, &clock, &store).await?;
            let Effects { posts: mut wanted, answers, lines, stopped, gauges: shown, states, .. } = effects;
            for (name, number) in shown {
                if !gauges.set(&name, &envelope.key, number) {
                    warn!(id = %envelope.id, name, "a gauge has too many keys");
                }
            }
            for (level, text) in lines {
                match level {
                    Level::Debug => debug!(id = %envelope.id, text, "a rule says"),
                    Level::Info => info!(id = %envelope.id, text, "a rule says"),
                    Level::Warn => warn!(id = %envelope.id, text, "a rule says"),
                }
            }
            if let Some(channels) = channels.filter(|_| !stopped) {
                let linked = of_topic(&channels, &envelope.topic).await;
                let linked = linked.map_err(|error| Failure::Again(error.to_string()))?;
                wanted.extend(linked.iter().filter_map(|link| words_for(link, &envelope)));
            }
            // What is remembered is written down before the next envelope is judged.
            let outside = !wanted.is_empty() || !states.is_empty();
            let posting = timeout(POSTS_WITHIN, post_all(&posts, wanted, perhaps_there)).await;
            posting.unwrap_or_else(|_| Err("the posts took too long".to_owned())).map_err(Failure::Again)?;
            Ok(Acted { answers, states, outside })
        }
        .boxed()
    }
}

/// What a linked channel is shown of an envelope; nothing of what was written there.
fn words_for(link: &Link, envelope: &Envelope) -> Option<Post> {
    let here = format!("discord/{}", link.channel_id);
    let text = match envelope.fields.get("text") {
        Some(Value::Text(text)) => Some(text.as_str()),
        _ => envelope.subject.as_deref(),
    };
    let text = text.filter(|_| link.way.posts() && envelope.key != here)?;
    let mark = if envelope.topic.as_str() == ANNOUNCE { "📣 " } else { "" };
    let text = format!("{mark}{}", readable(text, RELAY_TEXT_MAX));
    let nonce = nonce(&envelope.id, "a linked channel", usize::try_from(link.channel_id).unwrap_or(0));
    let (id, at) = (&envelope.id, envelope.at.seconds());
    Some(Post { channel_id: link.channel_id, text, nonce, reference: format!("{id}, <t:{at}:f>") })
}

/// In order, and no further than the first that fails: tried again, Discord knows the others by their nonces.
async fn post_all(
    posts: &mpsc::Sender<Posting>,
    wanted: Vec<Post>,
    perhaps_there: bool,
) -> Result<(), String> {
    for post in wanted {
        let (posted, outcome) = oneshot::channel();
        let gone = "nobody posts any more";
        posts.send(Posting { post, perhaps_there, posted }).await.map_err(|_| gone.to_owned())?;
        outcome.await.unwrap_or_else(|_| Err(gone.to_owned()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::dynamo::testing::embedded;
    use crate::relay::channels::Way;
    use crate::relay::envelope::Scope;
    use crate::relay::envelope::tests::envelope;
    use crate::relay::name::Topic;
    use crate::relay::publish::Draft;
    use crate::relay::routes;
    use crate::relay::routes::tests::lonely;
    use crate::relay::rules::file::read;
    use crate::relay::settings::{TableVia, Via};
    use crate::relay::store::TABLES;
    use crate::tasks::Tasks;

    const DISK: &str = "rules:\n  - name: disk-nearly-full\n    when: topic equals host/disk and mine is true and used_percent > 90\n    do: [ { publish: { topic: alerts/disk, scope: fleet, subject: \"{origin}: {path} is {used_percent} % full\" } } ]\n";
    const TELL: &str = "rules:\n  - name: alerts\n    when: topic matches \"^alerts/\"\n    do: [ { post: { channel: \"7\", text: \"⚠ {subject}\" } } ]\n";

    fn name(text: &str) -> BotName {
        BotName::new(text).unwrap()
    }

    /// A measurement on one host becomes an alert by its rules, and a post by another's; the first try to post
    /// fails.
    #[tokio::test]
    async fn a_measurement_here_becomes_a_post_there() {
        let tasks = Tasks::new();
        let shared = embedded(TABLES).await;
        let (posts, mut posted) = mpsc::channel(4);
        let mut laptop = None;
        for (me, peer, rules) in [("laptop", "hub", DISK), ("hub", "laptop", TELL)] {
            let all = || Pattern::new("**").unwrap();
            let links = BTreeMap::from([(name(peer), routes::Link { topics: vec![all()], vouch: false })]);
            let mut routes = lonely(me);
            (routes.to, routes.from) = (links.clone(), links);
            let rules = read(&[("rules.yaml", rules)]).unwrap();
            let via = TableVia {
                peers: BTreeSet::from([name(peer)]),
                table: Some(shared.clone()),
                ..TableVia::default()
            };
            let settings = Settings {
                routes,
                rules,
                open: Vec::new(),
                transports: vec![Via::Table(via)],
                sources: Vec::new(),
            };
            let relay = Relay::new(embedded(TABLES).await, Clock::system(), settings);
            let (serving, stop) = (relay.clone(), tasks.shutdown());
            let actor = Rulebook::new(&relay, posts.clone());
            tasks.spawn("relay", async move { serving.serve(actor, stop).await });
            laptop.get_or_insert(relay);
        }
        let now = Clock::system().now();
        let fields = [
            ("path".to_owned(), Value::Text("/".to_owned())),
            ("used_percent".to_owned(), Value::Number(91.0)),
        ];
        let draft =
            Draft { scope: Scope::Link, fields: fields.into(), ..Draft::test("host/disk", "disk/1", now) };
        laptop.unwrap().publish(draft).await.unwrap();
        let mut nonces = BTreeSet::new();
        for outcome in [Err("Discord is away".to_owned()), Ok(())] {
            let posting = timeout(Duration::from_secs(60), posted.recv()).await.unwrap().unwrap();
            assert_eq!(
                (posting.post.channel_id, posting.post.text.as_str()),
                (7, "⚠ laptop: / is 91 % full")
            );
            nonces.insert(posting.post.nonce);
            posting.posted.send(outcome).unwrap();
        }
        assert_eq!(nonces.len(), 1, "the second try has the nonce of the first");
        tasks.stop();
        assert!(tasks.wait(Duration::from_secs(10)).await && !tasks.failed());
        assert!(posted.try_recv().is_err(), "it is posted once");
    }

    #[test]
    fn a_linked_channel_is_told_what_others_wrote_and_not_what_was_written_there() {
        let link = Link {
            topic: Topic::new("alerts/disk").unwrap(),
            server_id: 1,
            channel_id: 7,
            way: Way::Both,
            by: 0,
            at: Clock::system().now(),
        };
        let alert = envelope("laptop", "x");
        let post = words_for(&link, &alert).unwrap();
        assert_eq!(post.text, "/ is 91 % full");
        assert_eq!(post.reference, format!("{}, <t:1800000000:f>", alert.id));
        let text = Value::Text("hi\u{202e}".to_owned());
        let said = Envelope { fields: [("text".to_owned(), text)].into(), ..alert.clone() };
        assert_eq!(words_for(&link, &said).unwrap().text, "hi");
        assert_eq!(words_for(&link, &Envelope { key: "discord/7".to_owned(), ..said.clone() }), None);
        assert_eq!(words_for(&Link { way: Way::Out, ..link.clone() }, &said), None);
        assert_eq!(words_for(&link, &Envelope { subject: None, ..alert }), None);
    }
}
