//! [`Rulebook`]: acts on envelopes as the rules say. It knows no Discord: its posts go to whoever sends them.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::clock::Clock;
use crate::relay::here::Work;
use crate::relay::name::BotName;
use crate::relay::publish::Draft;
use crate::relay::rules::{Effects, Level, Post, Rule, judge};
use crate::relay::run::{Act, Failure};

/// All posts of one envelope. Others wait behind it.
pub const POSTS_WITHIN: Duration = Duration::from_secs(30);

/// A post on its way to Discord, and who waits for it.
pub struct Posting {
    pub post: Post,
    pub posted: oneshot::Sender<Result<(), String>>,
}

pub struct Rulebook {
    rules: Arc<[Rule]>,
    me: BotName,
    clock: Clock,
    posts: mpsc::Sender<Posting>,
}

impl Rulebook {
    pub fn new(rules: Vec<Rule>, me: BotName, clock: Clock, posts: mpsc::Sender<Posting>) -> Self {
        Self { rules: rules.into(), me, clock, posts }
    }
}

impl Act for Rulebook {
    fn act(&mut self, work: &Work) -> BoxFuture<'static, Result<Vec<Draft>, Failure>> {
        let envelope = work.sealed.envelope();
        let judged = judge(&self.rules, envelope, &self.me, self.clock.now());
        let (id, posts) = (envelope.id.clone(), self.posts.clone());
        async move {
            // The same rules would want the same again.
            let effects = judged.map_err(|why| Failure::Never(why.to_string()))?;
            let Effects { posts: wanted, answers, lines, .. } = effects;
            for (level, text) in lines {
                match level {
                    Level::Debug => debug!(%id, text, "a rule says"),
                    Level::Info => info!(%id, text, "a rule says"),
                    Level::Warn => warn!(%id, text, "a rule says"),
                }
            }
            let posting = timeout(POSTS_WITHIN, post_all(&posts, wanted)).await;
            posting.unwrap_or_else(|_| Err("the posts took too long".to_owned())).map_err(Failure::Again)?;
            Ok(answers)
        }
        .boxed()
    }
}

/// In order, and no further than the first that fails: tried again, Discord knows the others by their nonces.
async fn post_all(posts: &mpsc::Sender<Posting>, wanted: Vec<Post>) -> Result<(), String> {
    for post in wanted {
        let (posted, outcome) = oneshot::channel();
        let gone = "nobody posts any more";
        posts.send(Posting { post, posted }).await.map_err(|_| gone.to_owned())?;
        outcome.await.unwrap_or_else(|_| Err(gone.to_owned()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use tokio::sync::Notify;

    use super::*;
    use crate::dynamo::testing::embedded;
    use crate::relay::engine::Engine;
    use crate::relay::envelope::{Kind, Scope, Value};
    use crate::relay::memory::{Air, Room, Weather};
    use crate::relay::name::Pattern;
    use crate::relay::publish::publish;
    use crate::relay::routes::{EVENT_LIFE, Link, Routes, TopicRule, Waiting};
    use crate::relay::rules::file::read;
    use crate::relay::run::run;
    use crate::relay::store::{TABLES, Tables};
    use crate::relay::transport::{Transport, wire};
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
        let room = Room::new(Air::new(1, Weather::default()), Clock::system());
        let (posts, mut posted) = mpsc::channel(4);
        let mut laptop = None;
        for (me, peer, rules) in [("laptop", "hub", DISK), ("hub", "laptop", TELL)] {
            let all = || Pattern::new("**").unwrap();
            let links = BTreeMap::from([(name(peer), Link { topics: vec![all()], vouch: false })]);
            let topics = vec![TopicRule { topics: all(), kind: Kind::Event, life: EVENT_LIFE }];
            let (to, from, waiting) = (links.clone(), links, Waiting::default());
            let routes = Routes { me: name(me), topics, to, from, acts: true, waiting };
            let store = Tables(embedded(TABLES).await);
            let (wire, lines) = wire();
            let transport = Box::new(room.transport(name(me), BTreeSet::from([name(peer)])));
            let ended = transport.run(wire, tasks.shutdown()).map(|ended| ended.unwrap());
            tasks.spawn_job("transport", ended);
            let engine = Engine::new(store.clone(), routes.clone(), false, 1);
            let rules = read(&[("rules.yaml", rules)]).unwrap();
            let actor = Rulebook::new(rules, name(me), Clock::system(), posts.clone());
            let changed = Arc::new(Notify::new());
            let running = run(engine, Clock::system(), actor, lines, changed.clone(), tasks.shutdown());
            tasks.spawn("relay", running);
            laptop.get_or_insert((store, routes, changed));
        }
        let (store, routes, changed) = laptop.unwrap();
        let now = Clock::system().now();
        let fields = [
            ("path".to_owned(), Value::Text("/".to_owned())),
            ("used_percent".to_owned(), Value::Number(91.0)),
        ];
        let draft =
            Draft { scope: Scope::Link, fields: fields.into(), ..Draft::test("host/disk", "disk/1", now) };
        publish(&store, &routes, now, draft).await.unwrap();
        changed.notify_one();
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
}
