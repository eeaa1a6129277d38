//! The relay in a bot that runs: one process of the installation moves frames and acts, and what its rules post
//! goes to Discord from here.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::context::relay::RelayMetrics;
use crate::context::{Delivery, Letter, Services};
use crate::relay::handle::Relay;
use crate::relay::rules::actor::{Posting, Rulebook};
use crate::relay::settings::Settings;
use crate::relay::sources;
use crate::shared::{LeaseError, LeaseOptions, SharedData};
use crate::tasks::Tasks;

/// What holds the relay. It is kept for as long as the process lives, and free soon after one that died.
const LOCK: &str = "relay";
const LEASE: LeaseOptions = LeaseOptions {
    ttl: Duration::from_secs(15),
    wait: Duration::from_secs(60),
    max_hold: Some(Duration::MAX),
    trust_clocks: true,
};

/// Before the lock is asked for again where the store did not answer.
const PAUSE: Duration = Duration::from_secs(5);

/// Posts that wait: rules wait for each, so there is never more than one.
const POSTS_WAITING: usize = 1;

/// Starts the relay: from now on every process publishes, and one of them serves.
pub fn start(services: &Arc<Services>, shared: SharedData, settings: Settings, tasks: &Tasks) {
    let relay = Relay::new(services.dynamo.clone(), services.clock.clone(), settings);
    let metrics = RelayMetrics { relay: relay.clone(), clock: services.clock.clone() };
    services.metrics.collect(Box::new(metrics));
    // It is set once in a bot's life.
    let _ = services.relay.set(relay.clone());
    let (posts, posting) = mpsc::channel(POSTS_WAITING);
    tasks.spawn("relay posts", post_all(services.clone(), posting, tasks.shutdown()));
    let (listening, shutdown) = (relay.clone(), tasks.shutdown());
    tasks.spawn("relay ears", async move { listening.listen(shutdown).await });
    tasks.spawn("relay", keep(relay, shared, posts, tasks.clone()));
}

/// Serves whenever this process holds the lock.
async fn keep(relay: Relay, shared: SharedData, posts: mpsc::Sender<Posting>, tasks: Tasks) {
    let shutdown = tasks.shutdown();
    while !shutdown.is_cancelled() {
        let lease = match shutdown.run_until_cancelled(shared.lock(LOCK, LEASE)).await {
            None => return,
            Some(Ok(lease)) => lease,
            Some(Err(LeaseError::Timeout { .. })) => continue,
            Some(Err(error)) => {
                warn!(%error, "the relay waits for the store");
                shutdown.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
                continue;
            }
        };
        info!(bot = %relay.settings().routes.me, "this process serves the relay");
        let stop = shutdown.child_token();
        let actor = Rulebook::new(&relay, posts.clone());
        let serving = relay.serve(actor, stop.clone());
        let sources = relay.settings().sources.clone();
        let watching =
            sources::run(sources, relay.clone(), relay.clock().clone(), tasks.clone(), stop.clone());
        let lost = async {
            shutdown.run_until_cancelled(lease.lost()).await;
            stop.cancel();
        };
        tokio::join!(serving, watching, lost);
        lease.release().await;
    }
}

/// Sends what rules post.
async fn post_all(
    services: Arc<Services>,
    mut posting: mpsc::Receiver<Posting>,
    shutdown: CancellationToken,
) {
    while let Some(Some(Posting { post, perhaps_there, posted })) =
        shutdown.run_until_cancelled(posting.recv()).await
    {
        let sent = shutdown.run_until_cancelled(send(&services, post, perhaps_there)).await;
        // Rules that gave up waiting try again later.
        let _ = posted.send(sent.unwrap_or_else(|| Err("the bot is ending".to_owned())));
    }
}

/// Posts it, unless it is there already. Discord knows a nonce for some minutes; what may be older than that is
/// looked for by the reference in its last line.
async fn send(
    services: &Services,
    post: crate::relay::rules::Post,
    perhaps_there: bool,
) -> Result<(), String> {
    let channel_id = post.channel_id;
    let reference = format!("-# {}", post.reference);
    if perhaps_there {
        let page = services.discord.messages(channel_id, None).await;
        let page = page.map_err(|error| error.to_string())?.unwrap_or_default();
        if page
            .iter()
            .any(|message| message.text.lines().last().is_some_and(|last| last.starts_with(&reference)))
        {
            return Ok(());
        }
    }
    let reply = format!("{}\n{reference}", post.text).into();
    match services.post(Letter { channel_id, nonce: post.nonce, reply }).await {
        Delivery::Sent(_) => Ok(()),
        // Nobody gets it there, now or later.
        Delivery::Closed | Delivery::Refused => {
            warn!(channel_id, reference, "a post of the relay could not be sent");
            Ok(())
        }
        Delivery::Unknown => Err("Discord gave no answer".to_owned()),
    }
}
