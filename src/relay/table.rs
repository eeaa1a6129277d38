//! Bots that share an account: frames travel through the table `relay_mail`. It needs no server, and keeps what
//! is sent to a bot that is away.
//!
//! A bot writes under the routes from it and reads those to it; permissions on leading keys prove who wrote.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::dynamo::{Dynamo, Error, Personal, Places, Privacy, Query, Table};
use crate::relay::frame::{FRAME_MAX, Frame};
use crate::relay::name::BotName;
use crate::relay::transport::{Arrival, Limits, Transport, TransportError, Wire};

/// How often mail is looked for: soon after there was some, and ever more seldom while there is none.
pub const LOOK_SOONEST: Duration = Duration::from_millis(200);
pub const LOOK_LATEST: Duration = Duration::from_secs(5);

/// Frames written, read and deleted at once.
const TOGETHER: usize = 16;

/// A frame that nobody fetched comes again from the outbox.
const KEPT_SECONDS: i64 = 24 * 3_600;

/// One record of `relay_mail`: a frame on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MailRecord {
    /// `<from>><to>`
    pub route: String,
    /// `<lane>#<epoch>#<number>`, or the only place of a greeting or of an answer: a newer one takes it.
    pub slot: String,
    pub frame: String,
    pub expires_at: i64,
}

impl Table for MailRecord {
    const NAME: &'static str = "relay_mail";
    const KEY: &'static [&'static str] = &["route", "slot"];
    const EXPIRES: Option<&'static str> = Some("expires_at");
    const PERSONAL: Personal = Personal {
        attributes: &[
            ("route", Privacy::None),
            ("slot", Privacy::None),
            ("frame", Privacy::Text),
            ("expires_at", Privacy::None),
        ],
        places: Places::Nowhere,
        kept: "until it is fetched, at most a day",
    };
    type Key = (String, String);

    fn key(&self) -> (String, String) {
        (self.route.clone(), self.slot.clone())
    }
}

/// No name of a bot holds the character between them.
fn route(from: &BotName, to: &BotName) -> String {
    format!("{from}>{to}")
}

fn slot(frame: &Frame) -> String {
    match frame {
        Frame::Hello(_) => "hello".to_owned(),
        Frame::Ack(ack) => format!("ack#{}", ack.lane.name()),
        Frame::Data(data) => format!("{}#{:020}#{:020}", data.lane.name(), data.epoch, data.number),
    }
}

/// The transport of one bot.
pub struct ByTable {
    dynamo: Dynamo,
    me: BotName,
    peers: BTreeSet<BotName>,
}

impl ByTable {
    pub fn new(dynamo: Dynamo, me: BotName, peers: BTreeSet<BotName>) -> Self {
        Self { dynamo, me, peers }
    }

    async fn post(&self, to: &BotName, frame: &Frame) -> Result<(), Error> {
        let text = match frame.write() {
            Ok(text) => text,
            Err(why) => {
                warn!(peer = %to, %why, "a frame cannot be sent");
                return Ok(());
            }
        };
        let expires_at = self.dynamo.now().seconds() + KEPT_SECONDS;
        let mail = MailRecord { route: route(&self.me, to), slot: slot(frame), frame: text, expires_at };
        match frame {
            // Sent again while the first is still there, it says the same.
            Frame::Data(_) => self.dynamo.put_if_absent(&mail).await.map(|_| ()),
            Frame::Hello(_) | Frame::Ack(_) => self.dynamo.put(&mail).await,
        }
    }

    async fn post_all(&self, wire: &mut tokio::sync::mpsc::Receiver<(BotName, Frame)>) {
        let mut frames = Vec::new();
        while wire.recv_many(&mut frames, TOGETHER).await > 0 {
            let posted = join_all(frames.iter().map(|(to, frame)| self.post(to, frame))).await;
            for error in posted.into_iter().filter_map(Result::err) {
                // What was not written is not acknowledged, and comes again.
                warn!(%error, "a frame was not written");
            }
            frames.clear();
        }
    }

    async fn fetch_all(&self, incoming: &tokio::sync::mpsc::Sender<Arrival>) {
        let mut pause = LOOK_SOONEST;
        loop {
            let mut found = 0;
            for peer in &self.peers {
                match self.fetch(peer, incoming).await {
                    Ok(frames) => found += frames,
                    Err(error) => {
                        let _ = incoming.try_send(Arrival::Lost(error.to_string()));
                        pause = LOOK_LATEST;
                    }
                }
            }
            pause = if found > 0 { LOOK_SOONEST } else { pause.mul_f64(1.5).min(LOOK_LATEST) };
            sleep(pause).await;
        }
    }

    /// Takes what there is from a peer. What there is no room for stays.
    async fn fetch(
        &self,
        peer: &BotName,
        incoming: &tokio::sync::mpsc::Sender<Arrival>,
    ) -> Result<usize, Error> {
        let limit = u32::try_from(incoming.capacity().min(100)).unwrap_or(0);
        if limit == 0 {
            return Ok(0);
        }
        let query = Query::<MailRecord>::of(route(peer, &self.me)).eventually();
        let mail = self.dynamo.query_first(query, limit).await?;
        let mut taken = Vec::new();
        for record in &mail {
            match Frame::read(&record.frame) {
                Ok(frame) => {
                    let arrival = Arrival::Frame { from: peer.clone(), frame };
                    if let Err(TrySendError::Full(_)) = incoming.try_send(arrival) {
                        break;
                    }
                }
                Err(why) => warn!(%peer, slot = record.slot, %why, "a frame cannot be read"),
            }
            taken.push(record.key());
        }
        for keys in taken.chunks(TOGETHER) {
            let deleted =
                join_all(keys.iter().map(|key| self.dynamo.delete::<MailRecord>(key.clone()))).await;
            deleted.into_iter().collect::<Result<Vec<_>, _>>()?;
        }
        Ok(taken.len())
    }
}

impl Transport for ByTable {
    fn limits(&self) -> Limits {
        Limits { frame_bytes: FRAME_MAX, keeps: true }
    }

    fn run<'a>(
        self: Box<Self>,
        wire: &'a mut Wire,
        shutdown: CancellationToken,
    ) -> BoxFuture<'a, Result<(), TransportError>> {
        async move {
            let _ = wire.incoming.try_send(Arrival::Connected);
            let both = async {
                tokio::select! {
                    () = self.post_all(&mut wire.outgoing) => {}
                    () = self.fetch_all(&wire.incoming) => {}
                }
            };
            let _ = shutdown.run_until_cancelled(both).await;
            Ok(())
        }
        .boxed()
    }
}
